"""Pipelines of users: followed, or refused by name."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from loaders import auto_augment
from loaders.batches import BatchKey
from loaders.errors import GeometryError, OptionError
from loaders.followed_transform import build_transform
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.randomness import KeyedStream
from loaders.scae_dataset import ScaeDataset
from loaders.transform_lists import (
    AUGMENTS,
    CONTAINERS,
    FOLLOWS,
    PHOTOMETRIC,
    REFUSED,
    REPLACED,
)
from loaders.view import View

TO_FLOAT = v2.ToDtype(torch.float32, scale=True)


def data(num: int = 6, size: tuple[int, int] = (24, 20)) -> ArrayData:
    images = np.random.default_rng(0).integers(0, 256, (num, *size, 3)).astype(np.uint8)
    return ArrayData(images, np.arange(num) % 2, ["a", "b"])


def stream(num: int) -> KeyedStream:
    return KeyedStream(3, 1, np.arange(num), np.zeros(num, np.int64), "geometry")


def load(pipeline: nn.Module, *, size: int, **options: Any) -> Any:  # noqa: ANN401
    return build_transform(pipeline, size=size, **options).load(data(), np.arange(6), stream(6))


def all_transforms() -> set[type]:
    """Return every public transform class of this torchvision."""
    names = getattr(v2, "__all__", None) or [name for name in dir(v2) if name[0] != "_"]
    return {
        value
        for value in (getattr(v2, name) for name in names)
        if isinstance(value, type) and issubclass(value, nn.Module) and value is not v2.Transform
    }


def test_every_torchvision_transform_is_in_exactly_one_list() -> None:
    lists = (CONTAINERS, FOLLOWS, AUGMENTS, PHOTOMETRIC, REPLACED, frozenset(REFUSED))
    for cls in all_transforms():
        number = sum(cls in known for known in lists)
        assert number == 1, (
            f"v2.{cls.__name__} is in {number} lists of loaders/transform_lists.py: put it into "
            "exactly one, according to what it does to the places of pixels"
        )
    assert all_transforms() == frozenset().union(*lists)


EXAMPLES: dict[str, Any] = {
    "CenterCrop": lambda: v2.CenterCrop(12),
    "Pad": lambda: v2.Pad(2),
    "RandomAffine": lambda: v2.RandomAffine(20),
    "RandomCrop": lambda: v2.RandomCrop(16, padding=2),
    "RandomHorizontalFlip": lambda: v2.RandomHorizontalFlip(1.0),
    "RandomPerspective": lambda: v2.RandomPerspective(p=1.0),
    "RandomResize": lambda: v2.RandomResize(10, 16),
    "RandomResizedCrop": lambda: v2.RandomResizedCrop(14),
    "RandomRotation": lambda: v2.RandomRotation((10, 20)),
    "RandomShortestSize": lambda: v2.RandomShortestSize([10, 14]),
    "RandomVerticalFlip": lambda: v2.RandomVerticalFlip(1.0),
    "RandomZoomOut": lambda: v2.RandomZoomOut(p=1.0),
    "Resize": lambda: v2.Resize(12),
    "ScaleJitter": lambda: v2.ScaleJitter((30, 30)),
}
GREY = (0.5, 0.5, 0.5)
STILL_EXAMPLES: dict[str, Any] = {
    "ColorJitter": lambda: v2.ColorJitter(0.5),
    "ConvertImageDtype": lambda: v2.ConvertImageDtype(torch.float32),
    "GaussianBlur": lambda: v2.GaussianBlur(3),
    "GaussianNoise": lambda: v2.Compose([TO_FLOAT, v2.GaussianNoise()]),
    "JPEG": lambda: v2.JPEG(50),
    "Normalize": lambda: v2.Compose([TO_FLOAT, v2.Normalize(GREY, GREY)]),
    "PILToTensor": lambda: v2.Compose([v2.ToPILImage(), v2.PILToTensor()]),
    "RandomAdjustSharpness": lambda: v2.RandomAdjustSharpness(2, p=1.0),
    "RandomPosterize": lambda: v2.RandomPosterize(2, p=1.0),
    "RandomSolarize": lambda: v2.RandomSolarize(100, p=1.0),
    "ToDtype": lambda: v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
}
"""Those that take arguments; the others are made without."""


def test_what_follows_moves_the_view_with_the_image() -> None:
    assert set(EXAMPLES) == {cls.__name__ for cls in FOLLOWS}
    for name, make in EXAMPLES.items():
        torch.manual_seed(0)
        image, view = make()(tv_tensors.Image(torch.zeros((3, 24, 20))), View.whole((24, 20)))
        assert view.size == tuple(image.shape[-2:]), name
        assert repr(view) != repr(View.whole((24, 20))), name


@pytest.mark.filterwarnings("ignore:The transform `ToTensor..` is deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
@pytest.mark.parametrize("cls", sorted(PHOTOMETRIC, key=str), ids=lambda cls: cls.__name__)
def test_what_is_photometric_leaves_view_and_size_alone(cls: type[nn.Module]) -> None:
    step = STILL_EXAMPLES.get(cls.__name__, cls)()
    image = tv_tensors.Image(torch.randint(0, 256, (3, 24, 20), dtype=torch.uint8))
    view = View.whole((24, 20))
    output, after = step(image, view)
    assert after is view
    assert tuple(v2.functional.get_size(output)) == view.size


@pytest.mark.parametrize("cls", sorted(REFUSED, key=str), ids=lambda cls: cls.__name__)
def test_what_is_refused_is_named_with_its_reason(cls: type[nn.Module]) -> None:
    step = cls.__new__(cls)  # whatever its arguments
    nn.Module.__init__(step)
    message = (
        rf"transform torchvision\.transforms\.v2\.\S*{cls.__name__} \(pipeline, Compose\[1\]\)"
    )
    with pytest.raises(GeometryError, match=message) as caught:
        build_transform(v2.Compose([v2.Identity(), step]), size=8)
    assert REFUSED[cls] in str(caught.value)


class Sepia(nn.Module):
    """A photometric transform of a user, which takes the image alone."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flip(0)


class Shrink(nn.Module):
    """A transform that is not what its user says."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[..., 1:, :]


class MyCrop(v2.RandomCrop):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (Sepia(), r"\.Sepia \(pipeline\) can't be used .*say so with trusted=\[Sepia\]"),
        (v2.Compose([MyCrop(8)]), r"\.MyCrop \(pipeline, Compose\[0\]\).*followed: AutoAugment"),
        (v1.RandomCrop(8), r"take torchvision\.transforms\.v2\.RandomCrop instead"),
        (v1.Compose([v2.CenterCrop(8)]), r"take torchvision\.transforms\.v2\.Compose instead"),
        (v2.Compose([lambda image: image]), r"builtins\.function|\.function \(pipeline"),
        (
            v2.RandomApply([v2.RandomOrder([v2.Identity(), v2.RandomChoice([v2.AugMix()])])]),
            r"AugMix \(pipeline, RandomApply\[0\], RandomOrder\[1\], RandomChoice\[0\]\)",
        ),
        (v2.RandomPerspective(0.9), "distortion_scale .* at most 0.6, got 0.9"),
        (nn.Sequential(v2.CenterCrop(8)), r"Sequential \(pipeline\)"),
    ],
    ids=["user", "subclass", "v1", "v1-compose", "lambda", "nested", "distortion", "sequential"],
)
def test_unknown_steps_are_refused_by_name(pipeline: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(GeometryError, match=message):
        build_transform(pipeline, size=8)


def test_trusted_classes_get_the_image_alone() -> None:
    pipeline = v2.Compose([v2.CenterCrop(8), Sepia(), TO_FLOAT])
    images, views = load(pipeline, size=8, trusted=[Sepia])
    expected, same = load(v2.Compose([v2.CenterCrop(8), TO_FLOAT]), size=8)
    assert torch.equal(images, expected.flip(1))
    np.testing.assert_array_equal(views.matrices, same.matrices)


def test_trusted_classes_must_keep_the_size() -> None:
    pipeline = v2.Compose([v2.CenterCrop(8), Shrink(), v2.Resize((8, 8)), TO_FLOAT])
    with pytest.raises(GeometryError, match=r"Shrink \(pipeline, Compose\[1\]\).*got \(7, 8\)"):
        load(pipeline, size=8, trusted=[Shrink])


def test_trust_takes_classes() -> None:
    with pytest.raises(OptionError, match="trusted must hold classes, got Sepia"):
        build_transform(v2.CenterCrop(8), size=8, trusted=[Sepia()])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="size must be at least 1, got 0"):
        build_transform(v2.CenterCrop(8), size=0)


def test_stock_augments_are_replaced_and_the_pipeline_is_not_changed() -> None:
    stock = v2.RandomApply([v2.RandAugment(3), v2.TrivialAugmentWide()], p=0.9)
    choice = v2.RandomChoice([v2.AutoAugment(), v2.Identity()], p=[3.0, 1.0])
    order = v2.RandomOrder([v2.ColorJitter(0.2), v2.RandomHorizontalFlip()])
    pipeline = v2.Compose([stock, choice, order, v2.CenterCrop(16), TO_FLOAT, v2.ToPureTensor()])
    images, views = load(pipeline, size=16)
    assert type(stock.transforms[0]) is v2.RandAugment
    assert type(choice.transforms[0]) is v2.AutoAugment
    # The same numbers are drawn, so the user's own pipeline gives the same images.
    seeds = (stream(6).random((6, 1))[:, 0] * 2.0**53).astype(np.int64)
    for row, seed in enumerate(seeds.tolist()):
        torch.manual_seed(seed)
        pixels = tv_tensors.Image(torch.from_numpy(data().read(row)).permute(2, 0, 1))
        assert torch.equal(images[row], pipeline(pixels))
    assert len({matrix.tobytes() for matrix in views.matrices}) > 1


def seeded_views(pipeline: nn.Module) -> NDArray[np.float64]:
    _, views = load(pipeline, size=16)
    matrices: NDArray[np.float64] = views.matrices
    return matrices


def test_stock_and_own_augments_give_the_same_views() -> None:
    for ours, stock in (
        (auto_augment.RandAugment(3), v2.RandAugment(3)),
        (auto_augment.TrivialAugmentWide(), v2.TrivialAugmentWide()),
    ):
        tail = [v2.CenterCrop(16), TO_FLOAT]
        np.testing.assert_array_equal(
            seeded_views(v2.Compose([ours, *tail])), seeded_views(v2.Compose([stock, *tail]))
        )


def test_transforms_travel_to_spawned_workers() -> None:
    transform = build_transform(
        v2.Compose([v2.RandAugment(), Sepia(), v2.RandomCrop(16), TO_FLOAT, v2.ToPureTensor()]),
        size=16,
        trusted=[Sepia],
    )
    images, views = transform.load(data(), np.arange(6), stream(6))
    again = pickle.loads(pickle.dumps(transform))
    same, same_views = again.load(data(), np.arange(6), stream(6))
    assert torch.equal(images, same)
    np.testing.assert_array_equal(views.matrices, same_views.matrices)


def test_only_the_cpu_generator_is_seeded_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.manual_seed seeds GPUs too, and nothing would put those back.
    def seeds_all(seed: int) -> None:
        raise AssertionError(seed)

    monkeypatch.setattr(torch, "manual_seed", seeds_all)
    state = torch.get_rng_state()
    load(v2.Compose([v2.RandomCrop(16), TO_FLOAT]), size=16)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_page_on_transforms_names_each_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "transforms.md").read_text()
    headings = {
        "**Followed**": FOLLOWS,
        "**Followed by classes of our own**": AUGMENTS,
        "**Looked into**": CONTAINERS,
        "**Photometric**": PHOTOMETRIC | REPLACED,
        "**Refused**": frozenset(REFUSED),
    }
    for heading, classes in headings.items():
        paragraph = page.split(heading)[1].split("\n\n")[0]
        words = set(re.findall(r"\w+", paragraph))
        missing = {cls.__name__ for cls in classes} - words
        assert not missing, f"docs/transforms.md, {heading}: {sorted(missing)}"


def test_boxes_fall_on_the_object_wherever_a_pipeline_moves_it(
    tmp_path: Path, publish_maps: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A white block lies where the map says; every step moves it, none changes its colour.
    num, cells = 48, np.arange(48) % 16
    images = np.zeros((num, 4, 8, 4, 8, 3), np.uint8)
    maps = np.zeros((num, 4, 4), np.uint8)
    images[np.arange(num), cells // 4, :, cells % 4] = 255
    maps[np.arange(num), cells // 4, cells % 4] = 255
    blocks = ArrayData(images.reshape(num, 32, 32, 3), np.arange(num) % 2, ["a", "b"])
    publish_maps(blocks, tmp_path / "c", maps)
    augment: Any = auto_augment.RandAugment(2)
    space = {name: augment._AUGMENTATION_SPACE[name] for name in sorted(auto_augment.MOVING)}
    monkeypatch.setattr(augment, "_AUGMENTATION_SPACE", space)
    steps = [
        v2.RandomCrop(32, padding=4),
        v2.RandomRotation(90),
        v2.RandomPerspective(0.3),
        augment,
    ]
    transform = build_transform(v2.Compose([*steps, TO_FLOAT]), size=32)
    policy = ScaePolicy(
        num_epochs=1,
        class_counts=(24, 24),
        class_aware=False,
        p_max=1.0,
        lambda_max=500.0,
        curriculum=False,
        area=(0.004, 0.004),
    )
    rows = np.arange(num)
    key = BatchKey(epoch=0, generation=1, step=0, indices=rows, draws=0 * rows)
    boxes = ScaeDataset(blocks, tmp_path / "c", policy, transform).batch(key).boxes.numpy()
    before = ScaeDataset(blocks, None, None, transform).batch(key).images.numpy()
    y, x = (boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) // 2).T
    in_sight = before.max(axis=(1, 2, 3)) > 0.5
    assert in_sight.sum() > 35
    assert (before[rows, 0, y, x] > 0.5)[in_sight].mean() > 0.9
