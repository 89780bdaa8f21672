"""What a refresh tells its operator at the end."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cache_store.errors import StoreError
from cache_store.generation import Generation
from cache_store.rows import rows_of
from cache_store.store import SaliencyStore
from cache_store.wording import counted
from loaders.image_data import ImageData
from pipeline.errors import RefreshError
from pipeline.refresh.compare import MapComparison, compare_generations
from pipeline.refresh.job import RefreshReport
from pipeline.refresh.map_sample import SAMPLE_ROWS, read_maps, sample_rows
from pipeline.refresh.quality import SaliencyQuality, map_entropies, saliency_quality

SHOWN_SKIPPED = 20
"""Skipped samples that are named in the text; the JSON fields name all of them."""
COMPARED_AT = 2.0
"""lambda at which densities of two generations are compared: the paper's lambda_max."""


@dataclass(frozen=True, slots=True)
class RefreshSummary:
    """The end of a refresh, for a person and for a program."""

    text: str
    """A few lines."""
    fields: dict[str, Any]
    """The same as JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapFigures:
    """What the maps of a generation look like, from at most `SAMPLE_ROWS` of them."""

    num_measured: int
    """Maps that entropy and movement are means of."""
    entropy: float | None
    """Mean of `quality.map_entropies`, None where all maps are flat."""
    moved: MapComparison | None
    """Against the generation before, None where there is none to compare with."""
    moved_since: int | None
    """Number of the generation before, None for the first."""
    not_compared: str | None
    """Why there is no comparison, None if there is one or no generation before."""
    quality: SaliencyQuality | None
    """Against the data's true masks, None where there are none."""


def refresh_summary(report: RefreshReport, data: ImageData) -> RefreshSummary:
    """Describe a finished refresh.

    Args:
        report: From `execute`.
        data: The data set it was made for.
    """
    generation = report.generation
    figures = map_figures(generation, data)
    names = _names(generation, data)
    fields: dict[str, Any] = {
        "generation": generation.number,
        "digest": generation.digest,
        "epoch": generation.provenance.epoch,
        "num_samples": len(generation),
        "reused": report.reused,
        "rows_found": report.num_rows_found,
        "skipped": names,
        "flat_maps": report.num_flat,
        "flat_share": round(report.num_flat / len(generation), 6),
        "seconds": round(report.seconds, 3),
        "images_per_second": round(report.images_per_second, 1),
        "shares": {name: round(share, 4) for name, share in report.shares.items()},
        **_figure_fields(figures),
    }
    return RefreshSummary("\n".join(_lines(report, names, figures)), fields)


def map_figures(generation: Generation, data: ImageData) -> MapFigures:
    """Measure the maps of a published generation.

    Args:
        generation: The generation.
        data: The data set it was made for.
    """
    rows_M = sample_rows(len(generation))
    entropies_M = map_entropies(read_maps(generation, rows_M))
    known_M = entropies_M[~np.isnan(entropies_M)]
    since, moved, reason = _movement(generation)
    return MapFigures(
        num_measured=len(rows_M),
        entropy=float(known_M.mean()) if len(known_M) else None,
        moved=moved,
        moved_since=since,
        not_compared=reason,
        quality=measure_quality(generation, data),
    )


def measure_quality(generation: Generation, data: ImageData) -> SaliencyQuality | None:
    """Compare a generation's maps with the data's true masks, None where there are none."""
    if data.masks is None:
        return None
    rows = rows_of(data.sample_ids, generation.sample_ids)
    return saliency_quality(generation.resident().maps, data.masks[rows])


def _movement(generation: Generation) -> tuple[int | None, MapComparison | None, str | None]:
    """Return the number of the generation before, the comparison with it, and why there is none."""
    store = SaliencyStore.open(generation.url)
    earlier = [number for number in store.generations() if number < generation.number]
    if not earlier:
        return None, None, None
    try:
        before = store.generation(earlier[-1])
        moved = compare_generations(
            before, generation, lam=COMPARED_AT, num_worst=0, sample=SAMPLE_ROWS
        )
    except (StoreError, RefreshError) as error:  # collected, damaged, or of another shape
        return earlier[-1], None, str(error)
    return earlier[-1], moved, None


def _names(generation: Generation, data: ImageData) -> list[str]:
    """Name the samples that could not be read."""
    skipped = list(generation.manifest.skipped)
    if not skipped:
        return []
    rows = rows_of(data.sample_ids, generation.sample_ids[skipped])
    return [data.describe(int(row)) for row in rows]


def _figure_fields(figures: MapFigures) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "maps_measured": figures.num_measured,
        "mean_entropy": None if figures.entropy is None else round(figures.entropy, 4),
        "moved": None,
        "pointing_game": None,
    }
    if figures.moved is not None:
        fields["moved"] = {
            "since": figures.moved_since,
            "lambda": figures.moved.lam,
            "num_compared": figures.moved.num_compared,
            "num_equal": figures.moved.num_equal,
            "rank_correlation": figures.moved.rank_correlation,
            "peaks_moved": figures.moved.peaks_moved,
            "tv_distance": figures.moved.tv_distance,
        }
    if figures.quality is not None:
        quality = figures.quality
        fields["pointing_game"] = {
            "share": quality.pointing,
            "interval_95": [quality.lower, quality.upper],
            "chance": quality.chance,
            "energy_on_object": quality.energy,
        }
    return fields


def _lines(report: RefreshReport, skipped: list[str], figures: MapFigures) -> list[str]:
    generation = report.generation
    maps, digest = counted(len(generation), "map"), generation.digest[:12]
    head = f"generation {generation.number} of {maps}, digest {digest}"
    if report.reused:
        return [f"{head}: is there already, made from this very plan; nothing was computed"]
    lines = [
        f"{head}, in {report.seconds:.1f} s ({report.images_per_second:.0f} images/s)",
        "time went into "
        + ", ".join(f"{name} {share:.0%}" for name, share in report.shares.items()),
    ]
    if report.num_rows_found:
        found = counted(report.num_rows_found, "row")
        lines.append(f"{found} came from an unfinished run")
    lines += _map_lines(report, figures)
    if skipped:
        lines.append(f"{counted(len(skipped), 'image')} could not be read, with a flat map:")
        lines += [f"  {name}" for name in skipped[:SHOWN_SKIPPED]]
        if len(skipped) > SHOWN_SKIPPED:
            lines.append(f"  and {len(skipped) - SHOWN_SKIPPED} more, all of them with --json")
    return lines


def _map_lines(report: RefreshReport, figures: MapFigures) -> list[str]:
    lines = ["no map is flat"]
    if report.num_flat:
        share = report.num_flat / len(report.generation)
        flat = counted(report.num_flat, "flat map")
        lines = [f"{flat} ({share:.1%}): centres are drawn uniformly"]
    if figures.entropy is not None:
        measured = _of(figures.num_measured, len(report.generation))
        lines.append(
            f"mean entropy {figures.entropy:.3f} (0 one cell, 1 all cells alike){measured}"
        )
    if figures.moved is not None:
        lines.append(_moved_line(figures, figures.moved))
    elif figures.not_compared is not None:
        lines.append(f"not compared with generation {figures.moved_since}: {figures.not_compared}")
    if figures.quality is not None:
        quality = figures.quality
        lines.append(
            f"pointing game {quality.pointing:.1%} ({quality.lower:.1%} to {quality.upper:.1%}), "
            f"chance {quality.chance:.1%}; energy on the object {quality.energy:.1%}"
        )
    return lines


def _moved_line(figures: MapFigures, moved: MapComparison) -> str:
    ranks = "none" if moved.rank_correlation is None else f"{moved.rank_correlation:.2f}"
    return (
        f"moved since generation {figures.moved_since}: rank correlation {ranks}, "
        f"{moved.peaks_moved:.1%} of the peaks, total variation {moved.tv_distance:.1%} at "
        f"lambda {moved.lam:g}{_of(moved.num_compared, moved.num_common)}"
    )


def _of(num_measured: int, num_all: int) -> str:
    return "" if num_measured == num_all else f", from {num_measured} of the maps"
