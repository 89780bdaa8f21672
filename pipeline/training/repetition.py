"""Whether a run repeats another one to the bit, or what may change its result."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.training.run_folder import RunFolder
from pipeline.training.run_log import WARNING

DECISIVE = (
    "recipe_digest", "fingerprint", "device", "precision", "ranks", "threads",
    "generation_digest", "versions",
)  # fmt: skip
"""What a run begins with that decides its result."""


def differences(folder: RunFolder, facts: Mapping[str, Any]) -> list[str]:
    """Return lines that compare a run with the one it repeats.

    Args:
        folder: Folder of that one.
        facts: What this one begins with, see `run_facts`.
    """
    there = _beginning(folder)
    if there is None:
        return [f"{WARNING}{folder.log_path} tells no start: what differs can't be told"]
    differing = [name for name in DECISIVE if facts[name] != there.get(name)]
    if not differing:
        return [f"repeats {folder.path}: the same recipe, data, versions and device"]
    told = (f"{name} {facts[name]}, there {there.get(name)}" for name in differing)
    return [f"{WARNING}the result may differ from that of {folder.path}: {'; '.join(told)}"]


def _beginning(folder: RunFolder) -> dict[str, Any] | None:
    """Return what a run's log tells of its first start, None if there is none to be read."""
    try:
        events = map(json.loads, folder.log_path.read_text().splitlines())
        return next((event for event in events if event["event"] == "start"), None)
    except (OSError, ValueError, TypeError, KeyError):
        return None
