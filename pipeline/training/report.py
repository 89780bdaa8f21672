"""The report of a training run: one HTML file that needs nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loaders.batches import NO_GENERATION
from loaders.class_groups import FEW_BELOW, MANY_ABOVE, class_groups
from loaders.image_data import ImageData
from loaders.policy import ScaePolicy
from pipeline.refresh.whole_file import write_whole
from pipeline.training.report_classes import class_chart
from pipeline.training.report_figures import (
    Chart,
    epoch_charts,
    occlusion_chart,
    pointing_chart,
    tau_chart,
    time_chart,
)
from pipeline.training.report_samples import NUM_BOXES, RunView, samples_table

STYLE = """
:root { color-scheme: light; --ink: #1b1b1b; --soft: #5f6368; --line: #dddddd; --back: #f6f7f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px 16px 48px; max-width: 1240px; color: var(--ink);
  background: white; font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 36px 0 12px; padding-bottom: 4px; font-size: 1.2rem;
  border-bottom: 2px solid var(--line); }
h3 { margin: 0 0 4px; font-size: 1rem; }
p, figcaption { margin: 4px 0 12px; color: var(--soft); max-width: 75ch; }
.facts { max-width: none; }
figure { margin: 0; min-width: 0; }
figcaption { margin: 4px 0 0; font-size: .85rem; }
img { display: block; max-width: 100%; height: auto; }
small { display: block; color: var(--soft); font-size: .78rem; font-weight: normal; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 10px;
  margin: 12px 0; }
.tiles div { padding: 10px 14px; border-radius: 8px; background: var(--back); }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 0; }
.tiles b { display: block; font-size: 1.55rem; font-weight: 650; line-height: 1.25; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
  gap: 28px 24px; }
.charts img { width: 100%; max-width: 480px; }
.scroll { overflow-x: auto; }
.low { max-height: 380px; overflow-y: auto; }
.scroll > img { width: 100%; min-width: 720px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.plain th, .plain td { padding: 5px 12px 5px 0; text-align: left; white-space: nowrap;
  font-size: .88rem;  border-bottom: 1px solid var(--line); }
.samples { width: 100%; table-layout: fixed; }
.samples th, .samples td { padding: 0 8px 12px 0; text-align: left; vertical-align: top;
  font-size: .88rem; overflow-wrap: anywhere; }
.samples tr > :first-child { position: sticky; left: 0; z-index: 1; background: white; }
.samples svg { display: block; width: 100%; max-width: 224px; margin-bottom: 3px; }
.samples rect { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; }
.samples .rim { stroke: black; stroke-opacity: .55; stroke-width: 3.6; }
.samples circle { stroke: black; stroke-width: 1; vector-effect: non-scaling-stroke; }
.sharp image, .sharp use { image-rendering: pixelated; }
@media (max-width: 700px) { .samples tr > :first-child { width: 104px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles b { font-size: 1.3rem; } }
summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; padding: 14px; border-radius: 8px; background: var(--back);
  font-size: .85rem; }
"""

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
        _section("headline", "Result", _headline(data, summary)),
        _section(
            "curves",
            "Epoch by epoch",
            "<p>Epochs are counted from 0.</p>" + _charts(map(_figure, _curves(metrics, summary))),
        ),
        _section("classes", "Class by class", _wide(classes)),
        _section("saliency", "Maps and time", _saliency(metrics, summary)),
        _section("samples", "What was erased", _samples(view, metrics)),
        _section("recipe", "Recipe", _recipe(recipe_text)),
    ]
    write_whole(Path(path), _page(title, sections).encode("utf-8", "replace"))


def _page(title: str, sections: Sequence[str]) -> str:
    head = (
        "<meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join(sections)
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"


def _section(name: str, title: str, content: str) -> str:
    return f"<section id='{name}'><h2>{title}</h2>\n{content}\n</section>"


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
    return _tiles([*accuracy, *time])


def _tiles(tiles: Iterable[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<div><dt>{name}</dt><dd><b>{value}</b><small>{note}</small></dd></div>"
        for name, value, note in tiles
    )
    return f"<dl class='tiles'>{cells}</dl>"


def _charts(figures: Iterable[str]) -> str:
    return f"<div class='charts'>{''.join(figures)}</div>"


def _figure(chart: Chart) -> str:
    title, caption = escape(chart.title), escape(chart.caption)
    return (
        f"<figure><h3>{title}</h3><img src='{chart.picture}' alt='{title}. {caption}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


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
    charts = (pointing_chart(summary["pointing"]), time_chart(metrics))
    figures = [_figure(chart) for chart in charts if chart is not None]
    if summary["generations"]:
        figures.insert(0, _generations(metrics, summary))
    return "".join(notes) + _charts(figures)


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


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{share:.1%}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
