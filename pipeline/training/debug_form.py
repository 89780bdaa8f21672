"""The debug form of a recipe: the same methods on a few `shapes`, done in seconds."""

from typing import Any

DEBUG_SUFFIX = " (debug)"
"""Ends the name of a recipe in its debug form, so that its figures are never taken for real."""
MAX_IMBALANCE = 50.0
"""Leaves 13 images in the smallest class: a class with few."""

_DATA: dict[str, Any] = {"name": "shapes", "classes": 4}
_TRAIN: dict[str, Any] = {"epochs": 2, "batch_size": 64, "workers": 0}
_SIZED = ("period", "rotate", "ratio", "length", "gradient_size")
"""Options of [augment] in pixels, or made for large images."""
_TRAINED = ("crt", "lws", "mislas")
"""Second stages with epochs of their own."""


def debug_form(values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with small data, network and training; methods stay as they are.

    Four classes of `shapes`, long-tailed where the recipe is, a ResNet-8, two epochs with maps
    after the first, one epoch of the second stage. Options that are in pixels go back to their
    defaults, which fit.

    Args:
        values: The recipe as TOML values; left as they are.
    """
    sections = {key: dict(part) for key, part in values.items() if isinstance(part, dict)}
    data, train = sections.get("data", {}), sections.get("train", {})
    default = MAX_IMBALANCE if data.get("name", "shapes") == "shapes" else 1.0
    for key in ("root", "download", "size", "deep", "in_memory"):
        data.pop(key, None)
    train.pop("warmup_epochs", None)
    if "milestones" in train:
        train["milestones"] = [1]
    imbalance = min(float(data.get("imbalance", default)), MAX_IMBALANCE)
    sections["data"] = {**data, **_DATA, "imbalance": imbalance}
    sections["train"] = {**train, **_TRAIN}
    options = sections.get("network", {}).get("options", {})
    head = {key: value for key, value in options.items() if key == "normed_head"}
    sections["network"] = {"name": "resnet8", "options": head}
    augment = sections.get("augment", {})
    sections["augment"] = {key: value for key, value in augment.items() if key not in _SIZED}
    refresh = sections.get("refresh", {})
    sections["refresh"] = {**refresh, "interval": min(1, refresh.get("interval", 1))}
    if sections.get("second_stage", {}).get("name") in _TRAINED:
        sections["second_stage"]["epochs"] = 1
    sections.get("loss", {}).pop("reweighting_epoch", None)
    return {**values, **sections, "name": f"{values.get('name', 'run')}{DEBUG_SUFFIX}"}
