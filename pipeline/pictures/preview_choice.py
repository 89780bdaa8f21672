"""Which samples a preview shows: rows, ids, or some of chosen classes.

Legend: B samples shown.
"""

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from loaders.errors import OptionError
from loaders.image_data import ImageData
from pipeline.pictures.drawn import spread_rows


def chosen_rows(
    data: ImageData,
    *,
    rows: Sequence[int],
    ids: Sequence[int],
    classes: Sequence[str],
    num: int,
    seed: int,
) -> NDArray[np.int64]:
    """Return the rows to show: those named, or `num` spread over the classes named, else over all.

    Args:
        data: The data set.
        rows: Rows of it.
        ids: Sample ids, unsigned 64-bit.
        classes: Names or numbers of classes, to choose from if neither rows nor ids are named.
        num: How many to choose at most.
        seed: Decides which are chosen.

    Returns:
        (B,) int64; rows come before ids.

    Raises:
        OptionError: If a row, id or class is not in the data, or the classes have no image.
    """
    for row in rows:
        if not 0 <= row < len(data):
            raise OptionError(
                f"rows of a preview of {data.name} must be in [0, {len(data)}), got {row}: "
                "name other --rows"
            )
    if rows or ids:
        return np.array([*rows, *(_row_of(data, sample_id) for sample_id in ids)], np.int64)
    if not classes:
        return spread_rows(data, num, seed)
    labels = [_label(data, word) for word in classes]
    empty = [word for word, label in zip(classes, labels, strict=True) if not _count(data, label)]
    if empty:
        raise OptionError(f"class {empty[0]!r} of {data.name} has no image here: name another")
    return spread_rows(data, num, seed, labels=labels)


def _count(data: ImageData, label: int) -> int:
    return int(data.class_counts[label])


def _row_of(data: ImageData, sample_id: int) -> int:
    found = np.flatnonzero(data.sample_ids == np.uint64(sample_id))
    if not len(found):
        raise OptionError(
            f"no sample of {data.name} has the id {sample_id:016x}: "
            "'scae cache diff' and 'scae preview' print ids"
        )
    return int(found[0])


def _label(data: ImageData, word: str) -> int:
    """Return the class that a word names; a class called '3' goes before class number 3."""
    if word in data.class_names:
        return data.class_names.index(word)
    if word.isdecimal() and int(word) < data.num_classes:
        return int(word)
    near = get_close_matches(word, data.class_names, n=3, cutoff=0.5)
    known = near or data.class_names[:3]
    raise OptionError(
        f"class of a preview of {data.name} must be a name or a number in "
        f"[0, {data.num_classes}), got {word!r}: "
        f"{'did you mean' if near else 'there are'} {', '.join(known)}{'?' if near else ', ...'}"
    )
