"""What a refresh tells its operator at the end."""

from dataclasses import dataclass
from typing import Any

from loaders.image_data import ImageData
from pipeline.refresh.job import RefreshReport
from pipeline.refresh.quality import SaliencyQuality, saliency_quality

SHOWN_SKIPPED = 5
"""Skipped samples that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class RefreshSummary:
    """The end of a refresh, for a person and for a program."""

    text: str
    """A few lines."""
    fields: dict[str, Any]
    """The same as JSON values."""


def refresh_summary(report: RefreshReport, data: ImageData) -> RefreshSummary:
    """Describe a finished refresh.

    Args:
        report: From `execute`.
        data: The data set it was made for.
    """
    generation = report.generation
    skipped = generation.manifest.skipped
    rows = {int(sample_id): row for row, sample_id in enumerate(data.sample_ids)}
    names = [data.describe(rows[int(generation.sample_ids[row])]) for row in skipped]
    quality = measure_quality(report, data)
    fields: dict[str, Any] = {
        "generation": generation.number,
        "digest": generation.digest,
        "num_samples": len(generation),
        "reused": report.reused,
        "rows_found": report.num_rows_found,
        "skipped": names,
        "flat_maps": report.num_flat,
        "seconds": round(report.seconds, 3),
        "images_per_second": round(report.images_per_second, 1),
        "shares": {name: round(share, 4) for name, share in report.shares.items()},
    }
    if quality is not None:
        fields["pointing_game"] = {
            "share": quality.pointing,
            "interval_95": [quality.lower, quality.upper],
            "chance": quality.chance,
            "energy_on_object": quality.energy,
        }
    return RefreshSummary("\n".join(_lines(report, names, quality)), fields)


def measure_quality(report: RefreshReport, data: ImageData) -> SaliencyQuality | None:
    """Compare a generation's maps with the data's true masks, None where there are none."""
    if data.masks is None:
        return None
    generation = report.generation
    order = data.sample_ids.argsort()
    rows = order[data.sample_ids[order].searchsorted(generation.sample_ids)]
    return saliency_quality(generation.resident().maps, data.masks[rows])


def _lines(report: RefreshReport, skipped: list[str], quality: SaliencyQuality | None) -> list[str]:
    generation = report.generation
    head = (
        f"generation {generation.number} of {len(generation)} maps, digest {generation.digest[:12]}"
    )
    if report.reused:
        return [f"{head}: is there already, made from this very plan; nothing was computed"]
    lines = [
        f"{head}, in {report.seconds:.1f} s ({report.images_per_second:.0f} images/s)",
        "time went into "
        + ", ".join(f"{name} {share:.0%}" for name, share in report.shares.items()),
    ]
    if report.num_rows_found:
        lines.append(f"{report.num_rows_found} rows were there from an unfinished run")
    if report.num_flat:
        lines.append(f"{report.num_flat} maps are flat: their centres are drawn uniformly")
    if skipped:
        shown = ", ".join(skipped[:SHOWN_SKIPPED])
        more = f" and {len(skipped) - SHOWN_SKIPPED} more" if len(skipped) > SHOWN_SKIPPED else ""
        lines.append(f"{len(skipped)} images could not be read: {shown}{more}")
    if quality is not None:
        lines.append(
            f"pointing game {quality.pointing:.1%} ({quality.lower:.1%} to {quality.upper:.1%}), "
            f"chance {quality.chance:.1%}; energy on the object {quality.energy:.1%}"
        )
    return lines
