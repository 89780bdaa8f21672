"""The worst classes of a training report: their figures, and training images under their maps.

Legend: K classes, B images of a class, S side of a picture in pixels.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import CacheNotFoundError
from cache_store.wording import counted
from loaders.batches import NO_GENERATION
from loaders.class_groups import class_groups
from loaders.decode import read_resized
from loaders.map_source import MapBatch, MapSource
from pipeline.pictures.drawn import dense_saliency
from pipeline.pictures.marks import SMALL, data_uri, image_png, overlay
from pipeline.training.report_samples import RunView
from pipeline.training.report_words import percent

MOST_CLASSES = 6
"""Classes shown where there are many; two or four where there are few, so that rows are full."""
NUM_IMAGES = 5
"""Images of a class; fewer where it has not more."""
LARGEST_SIDE = 112
"""Pixels of a picture at most: they are shown small."""


def worst_classes(
    view: RunView, metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> str:
    """Return the classes of the lowest accuracy as HTML; of equal ones the smaller class first.

    Args:
        view: Data, maps and policy.
        metrics: Rows of metrics.csv; the last maps that an epoch drew from are shown.
        summary: Content of summary.json; one of an older version can't say what is confused.
    """
    chosen = lowest(summary.get("per_class", ()), view.data.class_counts)
    if not len(chosen):
        return "<p>Without test images no class can be called the worst.</p>"
    generation = max((row["generation"] for row in metrics), default=NO_GENERATION)
    small = RunView(
        data=view.data,
        cache=view.cache,
        policy=view.policy,
        size=min(view.size, LARGEST_SIDE),
        seed=view.seed,
    )
    source = MapSource(small.data, small.cache, small.size)
    generation, maps = _maps_shown(source, generation)
    cards = (_card(small, source, generation, summary, label) for label in chosen.tolist())
    return (
        "<p>Lowest accuracy on the test images at the end, of equal ones the smaller class first. "
        f"Some of their training images; {maps}.</p><div class='worst'>{''.join(cards)}</div>"
    )


def lowest(per_class: Sequence[float | None], counts_K: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of the lowest accuracies, the lowest first, ties by size: int64.

    Args:
        per_class: K accuracies, None for classes without test images; or none at all.
        counts_K: (K,) int64 training images; classes without any are left out.
    """
    known = [k for k, share in enumerate(per_class) if share is not None and counts_K[k]]
    ordered = sorted(known, key=lambda k: (per_class[k], counts_K[k]))
    num = min(MOST_CLASSES, max(2, len(known) // 4 * 2))
    return np.array(ordered[:num], np.int64)


def _maps_shown(source: MapSource, generation: int) -> tuple[int, str]:
    """Return the generation to show, 0 for none, and what is said of it."""
    if generation == NO_GENERATION:
        return NO_GENERATION, "there were no maps in this run"
    try:
        source.check(generation)
    except CacheNotFoundError:
        return NO_GENERATION, f"the maps of generation {generation} are not in the cache any more"
    return generation, f"below them their maps of generation {generation} (red: most salient)"


def _card(
    view: RunView,
    source: MapSource,
    generation: int,
    summary: Mapping[str, Any],
    label: int,
) -> str:
    name = escape(view.data.class_names[label])
    accuracy = percent(summary["per_class"][label])
    rows_B = np.flatnonzero(view.data.labels == label)
    chosen = np.random.default_rng((view.seed, label)).permutation(len(rows_B))[:NUM_IMAGES]
    rows_B = np.sort(rows_B[chosen])
    images_BSS3 = read_resized(view.data, rows_B, view.size).permute(0, 2, 3, 1).numpy()
    layers = _overlays(view.size, images_BSS3, source.fetch(generation, rows_B))
    pictures = (
        _pair(view.size, image, layer, f"training image {row} of {name}")
        for row, image, layer in zip(rows_B.tolist(), images_BSS3, layers, strict=True)
    )
    return (
        f"<div class='card'><h3><span>{name}</span><span>{accuracy}</span></h3>"
        f"<p>{_facts(view, summary, label)}</p>"
        f"<div class='strip'>{''.join(pictures)}</div></div>"
    )


def _facts(view: RunView, summary: Mapping[str, Any], label: int) -> str:
    counts = view.data.class_counts
    group = next(name for name, chosen in class_groups(counts).items() if chosen[label])
    facts = [f"{counted(int(counts[label]), 'training image')} ({group})"]
    if view.policy is not None:
        erased = float(view.policy.erase_probability[label])
        facts.append(f"erased with p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{percent(erased)}")
    confused = summary.get("confused", ())
    if len(confused) and confused[label] is not None:
        other, share = confused[label]
        other = escape(view.data.class_names[other])
        facts.append(f"{percent(share)} of its test images are taken for {other}")
    return "; ".join(facts) + "."


def _overlays(
    size: int, images_BSS3: NDArray[np.uint8], maps: MapBatch
) -> list[NDArray[np.uint8] | None]:
    """Return each image under its map; None where the map is flat or missing."""
    saliency_BSS = dense_saliency(maps, size)
    return [
        overlay(image, saliency) if gain else None
        for image, saliency, gain in zip(images_BSS3, saliency_BSS, maps.gains, strict=True)
    ]


def _pair(size: int, image: NDArray[np.uint8], layer: NDArray[np.uint8] | None, words: str) -> str:
    sharp = " class='sharp'" if size <= SMALL else ""
    shown = [(image, words)] + ([] if layer is None else [(layer, f"map of {words}")])
    pictures = "".join(
        f"<img{sharp} src='{data_uri(image_png(pixels), 'png')}' alt='{text}'>"
        for pixels, text in shown
    )
    return f"<div>{pictures}</div>"
