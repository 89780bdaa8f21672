"""The views of a batch as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loaders.errors import GeometryError
from loaders.view import View

# B rows, P half planes of a row.

AFFINE_ROW = (0.0, 0.0, 1.0)
"""Last row of a matrix that needs no projective division."""

NO_CLIP = (0.0, 0.0, 1.0)
"""The half plane that holds everywhere: fills rows that have fewer half planes than others."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ViewBatch:
    """Views of one canvas size, as `loaders.view.View` describes them.

    Raises:
        GeometryError: If the arrays are not (B, 3, 3) and (B, P, 3), or the size is not positive.
    """

    matrices: NDArray[np.float64]
    """(B, 3, 3) float64: output pixel (x, y, 1) to homogeneous map coordinates (u, v) in [0, 1]."""

    half_planes: NDArray[np.float64]
    """(B, P, 3) float64: a*x + b*y + c > 0 inside; filled up with (0, 0, 1)."""

    size: tuple[int, int]
    """(H, W) of the canvas, one for all rows."""

    def __post_init__(self) -> None:
        num_rows = len(self.matrices)
        if self.matrices.shape != (num_rows, 3, 3):
            raise GeometryError(f"matrices must be (B, 3, 3), got {self.matrices.shape}")
        if self.half_planes.ndim != 3 or self.half_planes.shape[::2] != (num_rows, 3):
            raise GeometryError(
                f"half_planes must be ({num_rows}, P, 3), got {self.half_planes.shape}"
            )
        if min(self.size) < 1:
            raise GeometryError(f"size of views must be at least (1, 1), got {self.size}")

    def __len__(self) -> int:
        return len(self.matrices)

    @classmethod
    def whole(cls, num: int, size: tuple[int, int]) -> "ViewBatch":
        """Return the views of `num` untouched images of (H, W) pixels; the arrays are read-only."""
        height, width = size
        if height < 1 or width < 1:
            raise GeometryError(f"size of views must be at least (1, 1), got {size}")
        matrix = np.diag((1 / width, 1 / height, 1.0))
        return cls(
            matrices=np.broadcast_to(matrix, (num, 3, 3)),
            half_planes=np.empty((num, 0, 3)),
            size=size,
        )

    @classmethod
    def stack(cls, views: Sequence[View]) -> "ViewBatch":
        """Return views of one canvas size as a batch.

        Raises:
            GeometryError: If there is no view, or their sizes differ.
        """
        sizes = {view.size for view in views}
        if len(sizes) != 1:
            raise GeometryError(
                f"views of a batch must have one canvas size, got {sorted(sizes) or 'no view'}; "
                "end the pipeline with a crop or resize to a fixed size"
            )
        most = max(len(view.half_planes) for view in views)
        matrices = np.array([view.matrix for view in views], dtype=np.float64)
        planes = [view.half_planes + (NO_CLIP,) * (most - len(view.half_planes)) for view in views]
        return cls(
            matrices=matrices.reshape(-1, 3, 3),
            half_planes=np.array(planes, dtype=np.float64).reshape(len(views), most, 3),
            size=sizes.pop(),
        )

    @classmethod
    def joined(cls, parts: Sequence["ViewBatch"]) -> "ViewBatch":
        """Return views of one canvas size from several batches, one after another.

        Raises:
            GeometryError: If there is no batch, or their sizes differ.
        """
        sizes = {part.size for part in parts}
        if len(sizes) != 1:
            raise GeometryError(
                f"views that are joined must have one canvas size, got {sorted(sizes) or 'none'}"
            )
        most = max(part.half_planes.shape[1] for part in parts)
        planes = []
        for part in parts:
            missing = most - part.half_planes.shape[1]
            filling = np.broadcast_to(NO_CLIP, (len(part), missing, 3))
            planes.append(np.concatenate([part.half_planes, filling], axis=1))
        return cls(
            matrices=np.concatenate([part.matrices for part in parts]),
            half_planes=np.concatenate(planes),
            size=sizes.pop(),
        )

    def take(self, rows: NDArray[np.int64]) -> "ViewBatch":
        """Return the views of these rows."""
        return ViewBatch(
            matrices=self.matrices[rows], half_planes=self.half_planes[rows], size=self.size
        )

    @property
    def affine(self) -> bool:
        """Whether no view needs the projective division."""
        return bool((self.matrices[:, 2] == AFFINE_ROW).all())

    @property
    def aligned(self) -> NDArray[np.bool_]:
        """Which views turn nothing, so that rows stay rows: (B,) bool."""
        rows, columns = (0, 1, 2, 2, 2), (1, 0, 0, 1, 2)
        aligned_B: NDArray[np.bool_] = (self.matrices[:, rows, columns] == (0, 0, *AFFINE_ROW)).all(
            axis=1
        )
        return aligned_B

    def inverted(self, size: tuple[int, int]) -> "ViewBatch":
        """Return the views of the outputs from (H, W) pixels laid over the whole images.

        What the views do not show, because it lies beyond their canvas or one of their clips, lies
        outside the half planes of the inverse.

        Args:
            size: (H, W) of the new canvas, which shows the whole image.

        Raises:
            GeometryError: If a view squeezes its image into a line or a point.
        """
        (height, width), (rows, columns) = self.size, size
        to_image = np.diag((1 / columns, 1 / rows, 1.0))
        try:
            to_pixels_B33 = np.linalg.inv(self.matrices) @ to_image
        except np.linalg.LinAlgError as error:
            raise GeometryError("a view shows no area of its image, so it can't be undone") from (
                error
            )
        # In homogeneous coordinates a half plane is a row; before the horizon, the last one, the
        # divisor is positive.
        edges_53 = np.array(
            [(1, 0, 0), (-1, 0, width), (0, 1, 0), (0, -1, height), (0, 0, 1)], np.float64
        )
        edges_B53 = np.broadcast_to(edges_53, (len(self), 5, 3))
        planes_BP3 = np.concatenate([edges_B53, self.half_planes], axis=1) @ to_pixels_B33
        from_pixels_33 = np.diag((1 / width, 1 / height, 1.0))
        return ViewBatch(matrices=from_pixels_33 @ to_pixels_B33, half_planes=planes_BP3, size=size)
