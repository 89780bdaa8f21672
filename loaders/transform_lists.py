"""What each class of `torchvision.transforms.v2` does to the places of pixels.

Every one stands in exactly one of these; a test says which are missing when torchvision grows.
Names that an older torchvision lacks are left out.
"""

from torch import nn
from torchvision.transforms import v2


def _present(*names: str) -> frozenset[type[nn.Module]]:
    return frozenset(getattr(v2, name) for name in names if hasattr(v2, name))


CONTAINERS = _present("Compose", "RandomApply", "RandomChoice", "RandomOrder")
"""Hold other transforms, which are looked at one by one."""

FOLLOWS = _present(
    "CenterCrop",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
    "ScaleJitter",
)
"""Geometry that the view follows by its own kernels."""

AUGMENTS = _present("AutoAugment", "RandAugment", "TrivialAugmentWide")
"""Followed by our classes of the same names, which take their places."""

PHOTOMETRIC = _present(
    "ColorJitter",
    "ConvertImageDtype",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "Identity",
    "JPEG",
    "Normalize",
    "PILToTensor",
    "RGB",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomSolarize",
    "ToDtype",
    "ToImage",
    "ToPILImage",
    "ToTensor",
)
"""Leave every pixel in its place."""

REPLACED = _present("ToPureTensor")
"""Photometric, but they would take the view for one more image: they get the image alone."""

_BOXES = "it is for boxes and key points, which no image of a class has; leave it out"
_BATCH = "it mixes whole batches; that comes after the loader (or take ScaePolicy's own MixUp)"
_MANY = "it makes several images of one; take RandomCrop or RandomResizedCrop"

_REASONS = {
    "AugMix": "it adds up several differently moved images, so no pixel has one place on the map; "
    "take RandAugment, AutoAugment or TrivialAugmentWide",
    "ClampBoundingBoxes": _BOXES,
    "ClampKeyPoints": _BOXES,
    "ConvertBoundingBoxFormat": _BOXES,
    "CutMix": _BATCH,
    "ElasticTransform": "it bends the image, and a view follows straight lines only; take "
    "RandomAffine or RandomPerspective",
    "FiveCrop": _MANY,
    "Lambda": "what its function does is not known; make it a class and name that in trusted",
    "LinearTransformation": "each of its outputs mixes all pixels",
    "MixUp": _BATCH,
    "RandomErasing": "ScaePolicy erases already, where the saliency says; leave it out",
    "RandomIoUCrop": "it cuts by boxes, which no image of a class has; take RandomResizedCrop",
    "SanitizeBoundingBoxes": _BOXES,
    "SanitizeKeyPoints": _BOXES,
    "SetClampingMode": _BOXES,
    "TenCrop": _MANY,
    "UniformTemporalSubsample": "it is for videos",
}

REFUSED = {getattr(v2, name): text for name, text in _REASONS.items() if hasattr(v2, name)}
"""Not to be used, and why."""
