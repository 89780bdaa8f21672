"""The pulse of a watcher: it beats while it waits or works, stands by, and stops when asked."""

import time

from pipeline.errors import Stopped
from pipeline.refresh.watch_heartbeat import Heartbeat
from pipeline.refresh.watch_options import WatchOptions
from pipeline.refresh.watch_status import WatchStatus

BEAT_SECONDS = 5.0
"""Time between two heartbeats."""
SLICE_SECONDS = 0.2
"""How often a wait looks whether it should stop."""


class Pulse:
    """Waits by the monotonic clock, so that clocks that jump change nothing.

    Args:
        options: How the watcher works.
        status: What the heartbeat tells.
    """

    def __init__(self, options: WatchOptions, status: WatchStatus) -> None:
        self._options = options
        self._status = status
        self._heartbeat = Heartbeat(
            options.state / "heartbeat.json",
            status,
            lambda text: options.log("heartbeat_failed", text),
        )
        self._active = False
        self._beaten = time.monotonic()

    def stand_by(self) -> None:
        """Wait as long as another watcher of this run is alive.

        Raises:
            Stopped: If it is asked to stop.
        """
        options = self._options
        beats, changed = None, time.monotonic()
        while (other := self._heartbeat.other()) is not None:
            if beats is None:
                self._status.state = "standby"
                options.log(
                    "standby",
                    f"another watcher follows {options.run} (process {other['pid']} on "
                    f"{other['host']}): standing by",
                )
            if other["beats"] != beats:
                beats, changed = other["beats"], time.monotonic()
            if time.monotonic() - changed >= options.takeover_seconds:
                options.log(
                    "takeover",
                    f"its heartbeat stands still for {options.takeover_seconds:g} s: taking over",
                )
                break
            self.pause(min(1.0, options.takeover_seconds / 4))
        self._active = True

    def pause(self, seconds: float) -> None:
        """Wait and beat.

        Raises:
            Stopped: If it is asked to stop.
        """
        until = time.monotonic() + seconds
        self.beat()
        while (left := until - time.monotonic()) > 0:
            if self._options.stop():
                raise Stopped("stopped: run the same command again to go on")
            if self.is_due():
                self.beat()
            time.sleep(min(SLICE_SECONDS, left))

    def is_due(self) -> bool:
        """Tell whether it is time for a heartbeat."""
        return time.monotonic() - self._beaten >= BEAT_SECONDS

    def beat(self) -> None:
        """Write a heartbeat, unless this watcher stands by."""
        self._beaten = time.monotonic()
        if self._active:
            self._heartbeat.write()
