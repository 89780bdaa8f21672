"""How far the maps of a few training images have moved since those in use were made.

Legend: M images of the probe, h, w height and width of a map.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline.refresh.job import execute
from pipeline.refresh.map_distances import tv_distances
from pipeline.refresh.plan import plan_refresh
from pipeline.training.refresh_step import present_network, run_options
from pipeline.training.setup import RunParts, network_source


class Probe:
    """The same training images at every look: `refresh.probe` of them, drawn by the run's seed.

    Args:
        parts: The run's parts.
        stop: Asked between batches whether to stop.
    """

    def __init__(self, parts: RunParts, stop: Callable[[], bool]) -> None:
        num = len(parts.train_data)
        size = min(parts.recipe.refresh.probe, num)
        rng = np.random.default_rng(parts.recipe.seed)
        self._rows_M: NDArray[np.int64] = np.sort(rng.choice(num, size, replace=False))
        self._images = parts.train_data.subset(self._rows_M)
        self._parts = parts
        self._stop = stop

    def distance(self, epoch: int, generation: int, lam: float) -> float:
        """Return the mean total variation between the densities of Eq. 4 now and in use.

        Args:
            epoch: 0-based epoch that is done.
            generation: Number of the generation in use.
            lam: Guidance strength.

        Returns:
            The distance in [0, 1].

        Raises:
            Stopped: If `stop` said so.
        """
        used_Mhw = self._parts.loader.dataset.maps.fetch(generation, self._rows_M).maps
        present_Mhw = self._present_maps(epoch)
        return float(tv_distances(used_Mhw, present_Mhw, self._parts.size, lam).mean())

    def _present_maps(self, epoch: int) -> NDArray[np.uint8]:
        parts, network = self._parts, present_network(self._parts)
        with TemporaryDirectory(prefix="scae-probe-") as folder:
            plan = plan_refresh(
                parts.data_source,
                network_source(parts.recipe, network.num_classes),
                Path(folder) / "maps",
                replace(run_options(parts, epoch), fsync=False),
                opened=self._images,
                built=network,
            )
            report = execute(plan, opened=self._images, built=network, stop=self._stop)
            maps_Mhw: NDArray[np.uint8] = np.asarray(report.generation.saliency[:])
        return maps_Mhw
