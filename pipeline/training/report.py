"""The report of a training run: one HTML file that needs nothing else."""

import tomllib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cache_store.wording import counted
from loaders.batches import NO_GENERATION
from loaders.image_data import ImageData
from loaders.policy import ScaePolicy
from pipeline.pictures.chart import Chart
from pipeline.pictures.page import (
    figure_grid,
    html_figure,
    html_head,
    html_page,
    html_section,
    wide_figure,
)
from pipeline.refresh.whole_file import write_whole
from pipeline.training.report_classes import class_chart
from pipeline.training.report_figures import epoch_charts, occlusion_chart, tau_chart
from pipeline.training.report_maps import maps_section
from pipeline.training.report_result import result_cards
from pipeline.training.report_samples import NUM_BOXES, RunView, samples_table
from pipeline.training.report_time import time_section
from pipeline.training.report_worst import worst_classes

SECTIONS = {
    "headline": "Result",
    "curves": "Epoch by epoch",
    "classes": "Class by class",
    "worst": "The worst classes",
    "saliency": "Maps, generation by generation",
    "time": "Where the time went",
    "samples": "What was erased",
    "recipe": "Recipe",
}
"""Sections by id, in order."""


def write_report(
    path: str | Path,
    *,
    title: str,
    recipe_text: str,
    metrics: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    policy: ScaePolicy | None,
    data: ImageData,
    cache: str | Path | None,
    size: int,
    seed: int,
) -> None:
    """Write the report of a run, whole or not at all.

    Args:
        path: The HTML file; replaced if it is there.
        title: Name of the run.
        recipe_text: The resolved recipe as TOML.
        metrics: Rows of metrics.csv, at least one, numbers as numbers and empty fields as None.
        summary: Content of summary.json, of this or of an older version.
        policy: The erasing policy, None for a run that erases nothing.
        data: The training set as trained.
        cache: Its cache, None if there is none.
        size: Side of the network's input in pixels.
        seed: The run's seed.

    Raises:
        CacheMismatchError: If the cache was made for other data.
        ImageReadError: If an image that is to be shown can't be decoded.
    """
    view = RunView(data=data, cache=cache, policy=policy, size=size, seed=seed)
    classes = class_chart(data.class_counts, data.class_names, policy, summary.get("per_class", ()))
    contents = {
        "headline": result_cards(data, summary),
        "curves": "<p>Epochs are counted from 0.</p>"
        + figure_grid(map(html_figure, _curves(metrics, summary))),
        "classes": wide_figure(classes),
        "worst": worst_classes(view, metrics, summary),
        "saliency": maps_section(metrics, summary),
        "time": time_section(metrics, summary),
        "samples": _samples(view, metrics),
        "recipe": _recipe(recipe_text),
    }
    sections = [html_head(title, _subtitle(view, recipe_text, summary), SECTIONS)]
    sections += [html_section(name, SECTIONS[name], text) for name, text in contents.items()]
    write_whole(Path(path), html_page(title, sections).encode("utf-8", "replace"))


def _subtitle(view: RunView, recipe_text: str, summary: Mapping[str, Any]) -> str:
    counts, recipe = view.data.class_counts, tomllib.loads(recipe_text)
    what = [("network", "name"), ("augment", "method")]
    parts = [
        f"{view.data.name}: {len(view.data):,} training images of {view.data.num_classes} classes "
        f"({counts.max():,} to {counts.min():,} each)",
        f"{view.size} by {view.size} pixels",
        *(recipe[section][key] for section, key in what if section in recipe),
        f"{summary['num_parameters']:,} parameters",
        counted(summary["epochs"], "epoch"),
        f"seed {view.seed}",
    ]
    return " · ".join(parts)


def _curves(metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[Chart]:
    others = (tau_chart(summary.get("tau_norm")), occlusion_chart(summary.get("occlusion")))
    return epoch_charts(metrics) + [chart for chart in others if chart is not None]


def _samples(view: RunView, metrics: Sequence[Mapping[str, Any]]) -> str:
    table = f"<div class='scroll'>{samples_table(view, metrics)}</div>"
    if view.policy is not None:
        return (
            f"<p>From the largest class to small ones. Each picture shows {NUM_BOXES} rectangles "
            "that the loader draws at that epoch on the whole image, with their centres, over the "
            "map that guides them (red: most salient). In training an image gets one of them, or "
            f"none, after its crop and flip.</p>{table}"
        )
    note = "SCAE is off in this run, so there are no rectangles of it"
    if any(row["generation"] != NO_GENERATION for row in metrics):
        return f"<p>{note}; the colours show the maps that were there.</p>{table}"
    return f"<p>{note}.</p>"


def _recipe(text: str) -> str:
    return (
        "<p>All settings of this run; what a recipe leaves out is filled in.</p>"
        f"<details><summary>recipe.toml</summary><pre>{escape(text)}</pre></details>"
    )
