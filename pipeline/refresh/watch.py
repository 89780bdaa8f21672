"""`scae watch`: a service that follows a run and keeps its maps fresh.

Nothing that it must not lose is in its memory: which checkpoints are done is told by the plans of
the published generations, what is half done by receipts. So it can be killed at any moment, and
started again, or twice.
"""

from collections.abc import Callable
from typing import Literal

from cache_store.errors import CacheMismatchError, ScaeError
from pipeline.errors import BlocksFailed, NetworkError, RefreshError, Stopped
from pipeline.refresh.job import open_or_create
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.watch_checkpoints import Checkpoint, CheckpointFolder
from pipeline.refresh.watch_followed import Followed
from pipeline.refresh.watch_ledger import Ledger
from pipeline.refresh.watch_metrics import metrics_server
from pipeline.refresh.watch_options import WatchOptions
from pipeline.refresh.watch_pulse import Pulse
from pipeline.refresh.watch_refresh import (
    check_followed,
    collect_old,
    describe,
    is_published,
    latest_epoch,
    refresh_from,
)
from pipeline.refresh.watch_status import State, WatchStatus

Ending = Literal["not yet", "done", "lost"]
"""How a run stands: its last wanted epoch is published, or never will be."""


def watch(follow: Callable[[], Followed | None], options: WatchOptions) -> None:
    """Refresh from each checkpoint that the policy wants, for ever or until the run is done.

    Args:
        follow: Opens what is followed; None as long as the run has not begun.
        options: How to work.

    Raises:
        CacheMismatchError: If the cache is for other data.
        RefreshError: If the run never refreshes, or ended without its last wanted checkpoint.
        Stopped: If `options.stop` said so.
    """
    status = WatchStatus(run=str(options.run), cache=options.cache)
    folder = CheckpointFolder(options.checkpoints, options.state, options.pattern)
    with metrics_server(status, options.metrics_host, options.metrics_port) as port:
        if port is not None:
            place = f"http://{options.metrics_host}:{port}/metrics"
            options.log("metrics", f"metrics at {place}", port=port)
        pulse = Pulse(options, status)
        try:
            pulse.stand_by()
            folder.tidy()
            followed = _await(follow, options, status, pulse)
            plan = check_followed(followed, options)
            _Watcher(followed, options, status, pulse, folder).run(plan)
        except Stopped:
            _end(status, pulse, "stopped", status.error)
            raise
        except BaseException as error:
            _end(status, pulse, "failed", str(error) or type(error).__name__)
            raise
        _end(status, pulse, "done", None)


def _await(
    follow: Callable[[], Followed | None],
    options: WatchOptions,
    status: WatchStatus,
    pulse: Pulse,
) -> Followed:
    status.state = "waiting"
    followed = follow()
    if followed is None:
        options.log("waiting", f"waiting for training to begin in {options.run}")
    while followed is None:
        pulse.pause(options.poll_seconds)
        followed = follow()
    return followed


def _end(status: WatchStatus, pulse: Pulse, state: State, error: str | None) -> None:
    status.state, status.error = state, error
    pulse.beat()


class _Watcher:
    """The loop of a watcher whose run has begun."""

    def __init__(
        self,
        followed: Followed,
        options: WatchOptions,
        status: WatchStatus,
        pulse: Pulse,
        folder: CheckpointFolder,
    ) -> None:
        self._followed = followed
        self._options = options
        self._status = status
        self._pulse = pulse
        self._folder = folder
        self._ledger = Ledger(followed.policy, status, options.log)

    def run(self, plan: RefreshPlan) -> None:
        """Follow the run; `plan` is any that makes the cache."""
        store = None
        while True:
            ending: Ending = "not yet"
            try:
                store = store or open_or_create(plan, self._followed.opened)
                worked = self._look()
                if self._options.until_done:
                    ending = self._ending()
            except (Stopped, CacheMismatchError):
                raise
            except (ScaeError, OSError) as error:
                self._back_off(error)
                continue
            if ending == "done":
                self._options.log("done", "the last wanted epoch is published")
                return
            if ending == "lost":
                raise self._lost()
            if not worked:
                self._status.state = "waiting"
                self._pulse.pause(self._options.poll_seconds)

    def _look(self) -> bool:
        """Look at the checkpoints and refresh if there is cause; False if there is none."""
        there = self._folder.there()
        self._ledger.notice(there)
        checkpoint = self._ledger.choose(there, latest_epoch(self._options.cache))
        if checkpoint is None:
            return False
        pinned = self._folder.pin(checkpoint)
        if pinned is None:
            self._ledger.vanish(checkpoint)
            return True
        try:
            self._work_on(pinned)
        except (NetworkError, BlocksFailed) as error:
            if isinstance(error, BlocksFailed) and not error.by_network:
                raise
            # People know the trainer's name of the file, not the pin's.
            pin, name = str(pinned.path.absolute()), str(checkpoint.path)
            return self._ledger.doubt(checkpoint, str(error).replace(pin, name))
        finally:
            self._status.epoch_refreshing = None
        return True

    def _work_on(self, checkpoint: Checkpoint) -> None:
        status, options, followed = self._status, self._options, self._followed
        epoch, before = checkpoint.epoch, latest_epoch(options.cache)
        status.state, status.epoch_refreshing = "refreshing", epoch
        self._pulse.beat()
        options.log("refreshing", f"epoch {epoch}: making maps", epoch=epoch)
        report = refresh_from(checkpoint, followed, options, status, self._tick)
        self._ledger.publish(checkpoint)
        status.failures, status.error = 0, None
        status.epoch_published = epoch
        status.generation, status.digest = report.generation.number, report.generation.digest
        if not report.reused:
            status.refreshes += 1
            self._ledger.supersede(self._folder.there(), before, epoch)
        self._folder.unpin(epoch)
        describe(epoch, report, followed, options, status)
        collect_old(options, status)
        self._pulse.beat()

    def _tick(self) -> bool:
        """Asked by a running refresh whether to stop; beats, and pins what is wanted next."""
        if self._pulse.is_due():
            self._pulse.beat()
            there = self._folder.there()
            self._ledger.notice(there)
            following = self._ledger.choose(there, None)
            if following is not None and following.epoch != self._status.epoch_refreshing:
                self._folder.pin(following)
        return self._options.stop()

    def _back_off(self, error: Exception) -> None:
        status, options = self._status, self._options
        status.errors += 1
        status.failures += 1
        status.state, status.error = "backing off", f"{type(error).__name__}: {error}"
        seconds = min(options.max_retry_seconds, options.retry_seconds * 2 ** (status.failures - 1))
        options.log(
            "error", f"failed, trying again in {seconds:g} s: {error}", failures=status.failures
        )
        self._pulse.pause(seconds)

    def _ending(self) -> Ending:
        last, newest = self._followed.policy.epochs()[-1], self._status.epoch_seen
        if newest is None or newest < last:
            return "not yet"
        if self._ledger.is_published(last):
            return "done"
        cache = self._options.cache
        if self._ledger.choose(self._folder.there(), latest_epoch(cache)) is not None:
            return "not yet"
        if is_published(cache, last, self._followed.network.name):
            return "done"
        return "lost" if newest > last else "not yet"

    def _lost(self) -> RefreshError:
        last = self._followed.policy.epochs()[-1]
        return RefreshError(
            f"run {self._options.run} is past epoch {last}, the last one to refresh from, and that "
            "checkpoint is not to be had (see the lines above): start the watcher before training "
            "ends, or keep more checkpoints"
        )
