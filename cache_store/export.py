"""Handing a generation to programs that read neither Zarr nor our format: one .npz file."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import StoreError
from cache_store.gains import gains_and_floors
from cache_store.generation import Generation
from cache_store.local_backend import PARTIAL_SUFFIX


def export_generation(generation: Generation, out: str | Path, *, force: bool = False) -> int:
    """Write a generation as a file of NumPy arrays; it appears whole or not at all.

    The arrays: maps (N, h, w) uint8, 255 = 1.0; gain, floor, probability (N,) float32; label (N,)
    int64; sample_id (N,) uint64; class_neighbours (K, 5) int32; provenance, a JSON text. Every
    object is checked against the manifest while it is read.

    Args:
        generation: The generation.
        out: The file; its folder must be there.
        force: Replace a file that is there.

    Returns:
        The file's size in bytes.

    Raises:
        StoreError: If there is a file of that name, or it can't be written.
        DamagedCacheError: If an object of the generation is missing or has changed.
    """
    path = Path(out)
    if path.exists() and not force:
        raise _is_there(path)
    arrays = _arrays(generation)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        if force:
            partial.replace(path)
        else:
            os.link(partial, path)  # unlike a rename it never replaces what came meanwhile
        return path.stat().st_size
    except FileExistsError as error:
        raise _is_there(path) from error
    except OSError as error:
        raise StoreError(
            f"can't write {path}: {error.strerror}; choose another name, in a folder that is there"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _is_there(path: Path) -> StoreError:
    return StoreError(f"{path} is there already: choose another name, or --force to replace it")


def _arrays(generation: Generation) -> dict[str, NDArray[Any]]:
    made_from = {
        "generation": generation.number,
        "digest": generation.digest,
        "published_at": generation.manifest.published_at,
        "skipped": list(generation.manifest.skipped),
        "software": generation.manifest.software,
        "provenance": generation.provenance.as_dict(),
    }
    maps_Nhw, size = np.asarray(generation.saliency[:]), generation.provenance.size
    gains_N, floors_N = gains_and_floors(maps_Nhw, (size, size))
    return {
        "maps": maps_Nhw,
        "gain": gains_N,
        "floor": floors_N,
        "probability": generation.probabilities,
        "label": generation.labels,
        "sample_id": generation.sample_ids,
        "class_neighbours": generation.class_neighbours,
        "provenance": np.array(json.dumps(made_from)),
    }
