"""The metrics of a watcher for Prometheus, drawn from its status whenever somebody asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.errors import RefreshError
from pipeline.refresh.watch_status import State, WatchStatus

GAUGES = {
    "epoch_seen": "Newest epoch with a checkpoint",
    "epoch_published": "Epoch of the last generation",
    "generation": "Number of the last generation",
    "images_done": "Images done in the refresh under way or the last one",
    "images_total": "Images of a refresh",
    "images_per_second": "Speed of the refresh under way or the last one",
    "failures": "Attempts that failed one after another, 0 when all is well",
}
"""Field of the status -> help."""
COUNTERS = {
    "refreshes": "Generations published",
    "removed": "Generations removed by retention",
    "errors": "Attempts that failed",
}
"""The same, for what only grows."""
REPORT_GAUGES = {
    "seconds": ("refresh_seconds", "Wall time of the last refresh"),
    "flat_share": ("flat_share", "Share of flat maps, 0 to 1"),
    "mean_entropy": ("mean_entropy", "Mean entropy of maps, 0 (one cell) to 1 (all alike)"),
}
"""Field of the last refresh's report -> name and help."""
MOVED_GAUGES = {
    "rank_correlation": "Mean rank correlation of maps with those before, -1 to 1",
    "peaks_moved": "Share of maps whose highest cell moved, 0 to 1",
    "tv_distance": "Mean total variation between densities at lambda 2, 0 to 1",
}
"""The same, of its comparison with the generation before."""


class StatusCollector(Collector):
    """Turns a status into metrics.

    Args:
        status: The record that the watcher keeps up to date.
    """

    def __init__(self, status: WatchStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has a value."""
        status = self._status
        about = {"version": version("scae"), "run": status.run, "cache": status.cache}
        yield InfoMetricFamily("scae_watch", "What is followed", value=about)
        states = {name: name == status.state for name in State.__args__}  # type: ignore[attr-defined]
        yield StateSetMetricFamily("scae_watch_state", "What the watcher is at", value=states)
        for name, text in GAUGES.items():
            value = getattr(status, name)
            if value is not None:
                yield GaugeMetricFamily(f"scae_watch_{name}", text, value=value)
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(f"scae_watch_{name}", text, value=getattr(status, name))
        skipped = CounterMetricFamily(
            "scae_watch_skipped", "Wanted checkpoints without a refresh", labels=["reason"]
        )
        for reason, count in status.skipped.items():
            skipped.add_metric([reason], count)
        yield skipped
        if status.report is not None:
            yield from _report_metrics(status.report)


def _report_metrics(report: dict[str, Any]) -> Iterator[Metric]:
    values = {
        **{name: (report[field], text) for field, (name, text) in REPORT_GAUGES.items()},
        "skipped_images": (len(report["skipped"]), "Images that could not be read"),
    }
    if report["moved"] is not None:
        for field, text in MOVED_GAUGES.items():
            values[f"moved_{field}"] = (report["moved"][field], text)
    if report["pointing_game"] is not None:
        share = report["pointing_game"]["share"]
        values["pointing_game"] = (share, "Share of maps whose peak lies on the object, 0 to 1")
    for name, (value, text) in values.items():
        if value is not None:
            yield GaugeMetricFamily(f"scae_watch_{name}", text, value=value)
    shares = GaugeMetricFamily(
        "scae_watch_time_share", "Share of the last refresh's time, 0 to 1", labels=["part"]
    )
    for part, share in report["shares"].items():
        shares.add_metric([part], share)
    yield shares


@contextmanager
def metrics_server(status: WatchStatus, host: str, port: int | None) -> Iterator[int | None]:
    """Serve metrics over HTTP as long as the context is open; None serves nothing.

    Args:
        status: What they are drawn from.
        host: Address to listen at.
        port: Port to listen at, 0 for a free one.

    Yields:
        The port.

    Raises:
        RefreshError: If the port is not to be had.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(StatusCollector(status))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        raise RefreshError(
            f"can't serve metrics at {host}:{port}: {error}; choose another --metrics-port"
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
