"""Figures of a run that has everything, for reports to show."""

from __future__ import annotations

from typing import Any

from pipeline.training.run_folder import METRIC_COLUMNS

SIZE, EPOCHS, SEED = 16, 5, 4


def metrics_row(epoch: int, generation: int, **changes: object) -> dict[str, Any]:
    """Return what a run writes about an epoch."""
    row: dict[str, Any] = dict.fromkeys(METRIC_COLUMNS, 0.5)
    row |= {"epoch": epoch, "generation": generation, "lam": 0.4 * epoch, "refresh": "no"}
    return row | {"test_few": None} | changes


def full_summary(**changes: object) -> dict[str, Any]:
    """Return what a run of `EPOCHS` epochs writes at its end."""
    point = {"generation": 1, "epoch": 1, "share": 0.625, "lower": 0.5, "upper": 0.7}
    step = {"tv_distance": 0.125, "rank_correlation": 0.75, "peaks_moved": 0.375}
    return {
        "top1": 0.5125,
        "top5": None,
        "balanced": 0.4375,
        "ece": 0.0625,
        "many": None,
        "medium": 0.25,
        "few": 0.125,
        "num_parameters": 12345,
        "epochs": EPOCHS,
        "seconds_total": 4000.0,
        "share_refresh": 0.081,
        "share_wait": 0.02,
        "share_evaluate": 0.03,
        "images_per_second": 1234.5,
        "generations": [
            {"number": 1, "digest": "ab" * 32, "epoch": 1},
            {"number": 2, "digest": "cd" * 32, "epoch": 2},
            {"number": 3, "digest": None, "epoch": None, "missing": "not there <any> more"},
        ],
        "movement": {
            "lambda": 1.6,
            "num_sampled": 45,
            "steps": [
                {"before": 1, "after": 2, **step},
                {"before": 2, "after": 3, "gap": "not there <any> more"},
            ],
        },
        "per_class": [0.5, 0.25, None],
        "confused": [[1, 0.375], [2, 0.6875], None],
        "overhead": {
            "method": "scae",
            "loader": 0.00123,
            "maps": 0.0623,
            "total": 0.06353,
            "refresh": 0.28,
            "interval": 4,
            "by_interval": {"4": 0.07123, "1": 0.28123, "10": 0.02923},
        },
        "pointing": [{**point, "chance": 0.2, "energy": 0.4}],
    } | changes
