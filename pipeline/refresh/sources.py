"""Where data and weights come from, small enough to send to a process that opens them there."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loaders.holdout import holdout_rows
from loaders.image_data import ImageData
from loaders.named_data import open_data
from pipeline.saliency.networks import BuiltNetwork, build_network

logger = logging.getLogger("scae")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """How to open a data set; the fields are `loaders.named_data`'s arguments."""

    name: str
    """Name or folder."""
    split: str = "train"
    """'train' or 'test'."""
    imbalance: float | None = None
    """Largest class over smallest class; None leaves the data's own default."""
    subset_seed: int = 0
    """Seed of the long-tailed choice."""
    num_classes: int | None = None
    """Number of classes, None for all."""
    root: str | None = None
    """Folder of a named data set."""
    download: bool = False
    """Fetch CIFAR if it is not there."""
    deep: bool = False
    """Know a folder's images by their bytes instead of their sizes."""
    holdout: float = 0.0
    """Share of each class that is kept out, in [0, 1)."""
    held_out: bool = False
    """True opens what is kept out, False the rest."""

    def open(self) -> ImageData:
        """Open the data set.

        Raises:
            DataError: If there is none.
        """
        data = self._whole()
        logger.debug("opened data %s (%s): %d images", data.name, self.split, len(data))
        if not self.holdout:
            return data
        kept, held = holdout_rows(data.labels, self.holdout, self.subset_seed)
        return data.subset(held if self.held_out else kept)

    def _whole(self) -> ImageData:
        return open_data(
            self.name,
            split=self.split,
            imbalance=self.imbalance,
            subset_seed=self.subset_seed,
            num_classes=self.num_classes,
            download=self.download,
            root=self.root,
            deep=self.deep,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSource:
    """How to build a network; the fields are `build_network`'s arguments."""

    name: str
    """Network name."""
    num_classes: int
    """K."""
    weights: str = "random"
    """'random', 'default' or a file."""
    seed: int = 0
    """Seed of random weights."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the network's constructor."""

    def build(self) -> BuiltNetwork:
        """Build the network.

        Raises:
            NetworkError: If it can't be built, or the weights do not fit.
        """
        built = build_network(
            self.name,
            num_classes=self.num_classes,
            weights=self.weights,
            seed=self.seed,
            options=self.options,
        )
        digest = built.weights_digest[:12]
        logger.debug("built network %s: weights %s, digest %s", self.name, self.weights, digest)
        return built
