"""The end of a run: final figures, summary.json and the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from loaders.class_groups import GROUPS
from pipeline.training.accounts import overhead, overhead_lines, seconds
from pipeline.training.evaluation import evaluate_run
from pipeline.training.map_history import map_history
from pipeline.training.occlusion import occlusion_lines, occlusion_robustness
from pipeline.training.report import write_report
from pipeline.training.run_events import summary_facts
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.run_log import END, RESULT, RunLog
from pipeline.training.setup import RunParts
from pipeline.training.tau_norm import apply_tau_norm


def finish(parts: RunParts, folder: RunFolder, rows: Sequence[Row], log: RunLog) -> None:
    """Measure the final network, write metrics, summary and report, and tell the user."""
    folder.write_metrics(rows)
    summary: dict[str, Any] = {}
    if parts.recipe.second_stage.name == "tau-norm":
        summary["tau_norm"] = apply_tau_norm(parts, log)
        if summary["tau_norm"]["tau"] is not None:
            folder.write_weights(parts.built.module)
    summary |= {**_accuracy(parts), **_times(rows), **map_history(parts, rows)}
    summary["overhead"] = _overhead(parts, rows)
    summary["erased_pixels"] = _erased_pixels(rows)
    if parts.recipe.evaluate.occlusion and parts.test_data is not None:
        summary["occlusion"] = occlusion_robustness(
            parts.built,
            parts.test_data,
            size=parts.size,
            device=parts.device,
            bf16=parts.bf16,
            target_layer=parts.recipe.network.target_layer,
            seed=parts.recipe.seed,
        )
    summary["num_parameters"] = sum(p.numel() for p in parts.built.module.parameters())
    summary["epochs"] = len(rows)
    summary["repeatable"] = parts.recipe.refresh.adopt != "as-soon-as"
    folder.write_summary(summary)
    write_report(
        folder.report_path,
        title=parts.recipe.name,
        recipe_text=folder.recipe_path.read_text(),
        metrics=list(rows),
        summary=summary,
        policy=parts.policy,
        data=parts.train_data,
        cache=parts.cache,
        size=parts.size,
        seed=parts.recipe.seed,
    )
    for line in summary_lines(summary):
        log.tell(RESULT, line)
    log.tell(END, f"report: {folder.report_path}", **summary_facts(summary))


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return the final figures as a table of a few lines."""
    names = ("top1", "top5", "many", "medium", "few", "balanced", "ece")
    accuracy = [f"{name} {summary[name]:.1%}" for name in names if summary[name] is not None]
    lines = [f"accuracy   {'  '.join(accuracy)}"] if accuracy else []
    lines.append(
        f"time       {summary['seconds_total']:.0f} s, of it refresh "
        f"{summary['share_refresh']:.1%}, data wait {summary['share_wait']:.1%}, evaluation "
        f"{summary['share_evaluate']:.1%}; {summary['images_per_second']:.0f} images/s"
    )
    if summary["overhead"] is not None:
        lines += overhead_lines(summary["overhead"])
    for point in summary["pointing"][-1:]:
        lines.append(
            f"saliency   pointing game {point['share']:.1%} ({point['lower']:.1%} to "
            f"{point['upper']:.1%}), chance {point['chance']:.1%}"
        )
    if "occlusion" in summary:
        lines += occlusion_lines(summary["occlusion"])
    return lines


def _accuracy(parts: RunParts) -> dict[str, Any]:
    evaluated = evaluate_run(parts)
    if evaluated is None:
        unknown = dict.fromkeys(("top1", "top5", "balanced", "ece", *GROUPS))
        return unknown | {"per_class": [], "confused": []}
    result, groups = evaluated
    return {
        "top1": result.top1,
        "top5": result.top5,
        "balanced": result.balanced,
        "ece": result.ece,
        **groups,
        "per_class": [None if np.isnan(value) else value for value in result.per_class],
        "confused": result.confused,
    }


def _erased_pixels(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return the mean erased share of pixels over the first stage, in all and by class group."""
    columns = {"all": "erased_pixels", **{name: f"erased_pixels_{name}" for name in GROUPS}}
    first = [row for row in rows if row["stage"] == 1]
    shares = {name: [row.get(column) for row in first] for name, column in columns.items()}
    known = {name: [v for v in values if v is not None] for name, values in shares.items()}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def _times(rows: Sequence[Row]) -> dict[str, float]:
    sums = {
        name: sum(seconds(row, name) for row in rows)
        for name in ("train", "wait", "method", "refresh", "evaluate")
    }
    total = sums["train"] + sums["refresh"] + sums["evaluate"]
    images = sum(row["images_per_second"] * row["seconds_train"] for row in rows)
    return {
        "seconds_total": total,
        "images_per_second": images / sums["train"] if sums["train"] else 0.0,
        **{
            f"share_{name}": sums[name] / total if total else 0.0
            for name in ("wait", "method", "refresh", "evaluate")
        },
    }


def _overhead(parts: RunParts, rows: Sequence[Row]) -> dict[str, Any] | None:
    augment = parts.recipe.augment
    if parts.method is None:
        return None
    refresh = parts.recipe.refresh
    interval = refresh.interval if augment.reads_maps else 0
    # Elsewhere the time that training stands still is not a refresh's, nor does it follow from R.
    inline = (refresh.mode, refresh.executor, refresh.when) == ("pass", "inline", "interval")
    found = overhead(rows, interval, inline=inline)
    return None if found is None else {"method": augment.name, **found.as_dict()}
