"""The first section of a training report: accuracy, time and overhead at a glance."""

from collections.abc import Mapping
from html import escape
from typing import Any

from cache_store.wording import counted
from loaders.class_groups import FEW_BELOW, MANY_ABOVE, class_groups
from loaders.image_data import ImageData
from pipeline.pictures.page import Bar, html_bars, html_card, html_cards, html_pairs
from pipeline.training.accounts import PAPER
from pipeline.training.report_words import duration, percent

GROUP_BARS = {"many": "blue", "medium": "green", "few": "red"}
"""Colours of the class groups, the same ones as in the charts."""


def result_cards(data: ImageData, summary: Mapping[str, Any]) -> str:
    """Return the cards of a run: accuracy, accuracy by class size, time, overhead.

    Args:
        data: The training set.
        summary: Content of summary.json; of an older version too.
    """
    cards = [_accuracy(summary), _groups(data, summary), _time(summary)]
    if summary.get("overhead") is not None:
        cards.append(_overhead(summary["overhead"]))
    return html_cards(cards)


def _accuracy(summary: Mapping[str, Any]) -> str:
    named = {
        "top-5": "top5",
        "mean over classes": "balanced",
        "calibration error (ECE)": "ece",
    }
    known = {name: summary.get(key) for name, key in named.items()}
    pairs = {name: percent(value) for name, value in known.items() if value is not None}
    top1 = f"<p class='big'>{percent(summary['top1'])} <small>top-1</small></p>"
    return html_card("Accuracy on the test images", top1 + html_pairs(pairs))


def _groups(data: ImageData, summary: Mapping[str, Any]) -> str:
    sizes = {name: int(chosen.sum()) for name, chosen in class_groups(data.class_counts).items()}
    limits = {
        "many": f"over {MANY_ABOVE} images",
        "medium": f"{FEW_BELOW} to {MANY_ABOVE}",
        "few": f"under {FEW_BELOW}",
    }
    bars = [
        Bar(
            label=name.capitalize(),
            note=f"{counted(sizes[name], 'class', 'classes')}, {limits[name]}",
            share=summary[name],
            number=percent(summary[name]),
            colour=colour,
        )
        for name, colour in GROUP_BARS.items()
    ]
    return html_card("Top-1 by class size", html_bars(bars))


def _time(summary: Mapping[str, Any]) -> str:
    shares = {
        "wait": summary["share_wait"],
        "refresh": summary["share_refresh"],
        "evaluate": summary["share_evaluate"],
    }
    parts = (
        ("training steps", "blue", max(0.0, 1 - sum(shares.values()))),
        ("waiting for images", "red", shares["wait"]),
        ("making maps", "green", shares["refresh"]),
        ("evaluation", "grey", shares["evaluate"]),
    )
    stack = "".join(
        f"<i style='width:{100 * share:.4g}%;background:var(--{colour})'></i>"
        for _name, colour, share in parts
    )
    pairs = {
        f"<i class='key' style='background:var(--{colour})'></i>{name}": percent(share)
        for name, colour, share in parts
    }
    speed = f"{summary['images_per_second']:,.0f}"
    return html_card(
        "Time in all",
        f"<p class='big'>{duration(summary['seconds_total'])}</p><div class='stack'>{stack}</div>"
        + html_pairs({**pairs, "training images a second": speed}),
    )


def _overhead(measured: Mapping[str, Any]) -> str:
    harvests = measured.get("harvest")  # not there in summaries of older versions
    pairs = {
        "its code in the loader": percent(measured["loader"], 2),
        **({"harvest in the steps": percent(measured["harvest"], 2)} if harvests else {}),
        "standing still for maps": percent(measured["maps"]),
    }
    if measured["refresh"] is not None:
        pairs["a refresh, of an epoch"] = percent(measured["refresh"])
    note = f"<p><small>The paper says {PAPER}.</small></p>" if measured["method"] == "scae" else ""
    return html_card(
        f"Overhead of {escape(measured['method'])}",
        f"<p class='big'>{percent(measured['total'])}</p>"
        f"<p>of the plain steps' time</p>{html_pairs(pairs)}{note}",
    )
