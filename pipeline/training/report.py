"""The report of a training run: one HTML file that needs nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loaders.batches import NO_GENERATION
from loaders.class_groups import FEW_BELOW, MANY_ABOVE, class_groups
from loaders.image_data import ImageData
from loaders.policy import ScaePolicy
from pipeline.pictures.chart import Chart
from pipeline.pictures.page import figure_grid, html_figure, html_page, html_section
from pipeline.refresh.whole_file import write_whole
from pipeline.training.accounts import PAPER, interval_text
from pipeline.training.report_classes import class_chart
from pipeline.training.report_figures import (
    epoch_charts,
    occlusion_chart,
    pointing_chart,
    tau_chart,
    time_chart,
)
from pipeline.training.report_samples import NUM_BOXES, RunView, samples_table

DASH = "\N{EN DASH}"
"""Stands for what was not measured."""


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
        summary: Content of summary.json.
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
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p class='facts'>{escape(_subtitle(view, summary))}</p>",
        html_section("headline", "Result", _headline(data, summary)),
        html_section(
            "curves",
            "Epoch by epoch",
            "<p>Epochs are counted from 0.</p>"
            + figure_grid(map(html_figure, _curves(metrics, summary))),
        ),
        html_section("classes", "Class by class", _wide(classes)),
        html_section("saliency", "Maps and time", _saliency(metrics, summary)),
        html_section("samples", "What was erased", _samples(view, metrics)),
        html_section("recipe", "Recipe", _recipe(recipe_text)),
    ]
    write_whole(Path(path), html_page(title, sections).encode("utf-8", "replace"))


def _subtitle(view: RunView, summary: Mapping[str, Any]) -> str:
    counts = view.data.class_counts
    parts = [
        f"{view.data.name}: {len(view.data):,} training images of {view.data.num_classes} classes "
        f"({counts.max():,} to {counts.min():,} each)",
        f"{view.size} by {view.size} pixels",
        f"{summary['num_parameters']:,} parameters",
        f"{summary['epochs']} epochs" if summary["epochs"] != 1 else "1 epoch",
        f"seed {view.seed}",
    ]
    return " · ".join(parts)


def _headline(data: ImageData, summary: Mapping[str, Any]) -> str:
    sizes = {name: int(chosen.sum()) for name, chosen in class_groups(data.class_counts).items()}
    accuracy = [
        ("Top-1", _percent(summary["top1"]), "of all test images"),
        ("Top-5", _percent(summary["top5"]), "right class among five"),
        ("Many", _percent(summary["many"]), f"{sizes['many']} classes over {MANY_ABOVE} images"),
        ("Medium", _percent(summary["medium"]), f"{sizes['medium']} classes between"),
        ("Few", _percent(summary["few"]), f"{sizes['few']} classes under {FEW_BELOW} images"),
    ]
    time = [
        ("Time in all", _duration(summary["seconds_total"]), "training, maps and evaluation"),
        ("Refresh", _percent(summary["share_refresh"]), "of the time: making maps"),
        ("Data wait", _percent(summary["share_wait"]), "of the time: waiting for images"),
        ("Evaluation", _percent(summary["share_evaluate"]), "of the time: test split"),
        ("Speed", f"{summary['images_per_second']:,.0f}", "training images a second"),
    ]
    return _tiles([*accuracy, *time, *_overhead_tiles(summary["overhead"])])


def _overhead_tiles(measured: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    if measured is None:
        return []
    method = escape(measured["method"])
    return [
        (f"Code of {method}", _percent(measured["loader"], 2), "of the plain steps' time"),
        (f"Overhead of {method}", _percent(measured["total"]), "of it, with the time for maps"),
    ]


def _tiles(tiles: Iterable[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<div><dt>{name}</dt><dd><b>{value}</b><small>{note}</small></dd></div>"
        for name, value, note in tiles
    )
    return f"<dl class='tiles'>{cells}</dl>"


def _curves(metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[Chart]:
    others = (tau_chart(summary.get("tau_norm")), occlusion_chart(summary.get("occlusion")))
    return epoch_charts(metrics) + [chart for chart in others if chart is not None]


def _wide(chart: Chart) -> str:
    title, caption = escape(chart.title), escape(chart.caption)
    picture = f"<div class='scroll'><img src='{chart.picture}' alt='{title}. {caption}'></div>"
    return f"<figure><h3>{title}</h3>{picture}<figcaption>{caption}</figcaption></figure>"


def _saliency(metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    notes = []
    if not summary["generations"]:
        notes.append("<p>No maps were used in this run.</p>")
    elif not summary["pointing"]:
        notes.append(
            "<p>Where the objects are is not known for this data: maps are not judged.</p>"
        )
    notes.append(_overhead(summary["overhead"]))
    if not summary.get("repeatable", True):
        notes.append(
            "<p>This run can't be repeated: which epochs drew from which maps was a matter of time "
            '(refresh.adopt = "as-soon-as").</p>'
        )
    charts = (pointing_chart(summary["pointing"]), time_chart(metrics))
    figures = [html_figure(chart) for chart in charts if chart is not None]
    if summary["generations"]:
        figures.insert(0, _generations(metrics, summary))
    return "".join(notes) + figure_grid(figures)


def _overhead(measured: Mapping[str, Any] | None) -> str:
    if measured is None or measured["refresh"] is None:
        return ""
    return (
        f"<p>What {escape(measured['method'])} adds to plain training: its own code "
        f"{_percent(measured['loader'], 2)} of the plain steps (processor time of a process that "
        "makes batches; none of it where the loop does not wait for images), and a refresh "
        f"{_percent(measured['refresh'])} of a plain epoch (wall time). Together "
        f"{interval_text(measured)}; the paper says {PAPER}.</p>"
    )


def _generations(metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    lines = []
    for made in summary["generations"]:
        used = [row["epoch"] for row in metrics if row["generation"] == made["number"]]
        epochs = DASH if not used else f"{used[0]} to {used[-1]}" if used[1:] else str(used[0])
        weights = DASH if made["epoch"] is None else str(made["epoch"])
        cells = (made["number"], f"<code>{made['digest'][:12]}</code>", weights, epochs)
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("generation", "digest", "after epoch", "used in")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        "<figure><h3>Generations</h3><div class='scroll low'><table class='plain'>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></figure>"
    )


def _samples(view: RunView, metrics: Sequence[Mapping[str, Any]]) -> str:
    if view.policy is None:
        note = "SCAE is off in this run, so there are no rectangles of it"
        seen = any(row["generation"] != NO_GENERATION for row in metrics)
        note += "; the colours show the maps that were there." if seen else "."
    else:
        note = (
            f"From the largest class to small ones. Each picture shows {NUM_BOXES} rectangles that "
            "the loader draws at that epoch on the whole image, with their centres, over the map "
            "that guides them (red: most salient). In training an image gets one of them, or none, "
            "after its crop and flip."
        )
    return f"<p>{note}</p><div class='scroll'>{samples_table(view, metrics)}</div>"


def _recipe(text: str) -> str:
    return (
        "<p>All settings of this run; what a recipe leaves out is filled in.</p>"
        f"<details><summary>recipe.toml</summary><pre>{escape(text)}</pre></details>"
    )


def _percent(share: float | None, digits: int = 1) -> str:
    return DASH if share is None else f"{share:.{digits}%}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
