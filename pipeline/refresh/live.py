"""New maps from a network at hand: for a training loop of one's own."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from loaders.image_data import ImageData
from loaders.map_style_data import MapStyle, MapStyleData
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.hooks import unwrap
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.weights import weights_digest


def refresh_from_network(
    network: nn.Module,
    data: ImageData | MapStyle,
    cache: str | Path,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    epoch: int | None = None,
    target_layer: str | None = None,
    batch_size: int = 64,
) -> RefreshReport:
    """Make the maps of a data set with a network's present weights and publish them.

    Modes, gradients and BatchNorm statistics of the network are left as found.

    Args:
        network: A classifier of (B, 3, size, size) images; DDP and compile wrappers are fine.
        data: The training data, an `ImageData` or any map-style data set of (image, label).
        cache: Path or URL of the cache; made if it is not there.
        size: Side in pixels that whole images are squashed to.
        mean: Per channel, subtracted from pixels in [0, 1].
        std: Per channel, divides the result.
        epoch: 0-based epoch that is done, for the record.
        target_layer: Dotted layer name; None finds it.
        batch_size: Images a forward pass.

    Returns:
        The report; `.generation.number` is what a loader's `set_epoch` takes.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        NetworkError: If the network has no layer to explain.
        ImageReadError: If an image can't be read.
    """
    images = data if isinstance(data, ImageData) else MapStyleData(data)
    module = unwrap(network)
    mean_3, std_3 = tuple(mean), tuple(std)
    built = BuiltNetwork(
        module=module,
        name=type(module).__name__,
        num_classes=images.num_classes,
        native_size=size,
        mean=(mean_3[0], mean_3[1], mean_3[2]),
        std=(std_3[0], std_3[1], std_3[2]),
        weights_kind="file",
        weights_digest=weights_digest(module),
    )
    device_type = next(module.parameters()).device.type
    options = RefreshOptions(
        target_layer=target_layer,
        size=size,
        batch_size=batch_size,
        channels_last=False,  # the caller's network keeps its layout
        device="cuda" if device_type == "cuda" else "cpu",
        epoch=epoch,
    )
    source = DataSource(name=images.name)
    network_source = NetworkSource(name=built.name, num_classes=images.num_classes)
    plan = plan_refresh(source, network_source, cache, options, opened=images, built=built)
    return execute(plan, opened=images, built=built)
