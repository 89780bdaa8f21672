"""What a watcher does with one checkpoint, and what it asks of the cache."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cache_store.errors import CacheNotFoundError, ScaeError, StoreError
from cache_store.generation import Generation
from cache_store.store import SaliencyStore
from cache_store.wording import counted
from pipeline.errors import RefreshError
from pipeline.refresh.job import RefreshReport, execute
from pipeline.refresh.plan import RefreshPlan, plan_refresh
from pipeline.refresh.progress import RefreshProgress
from pipeline.refresh.sources import NetworkSource
from pipeline.refresh.summary import refresh_summary
from pipeline.refresh.watch_checkpoints import Checkpoint
from pipeline.refresh.watch_followed import Followed
from pipeline.refresh.watch_options import WatchOptions
from pipeline.refresh.watch_status import WatchStatus
from pipeline.saliency.networks import BuiltNetwork

PROGRESS_SECONDS = 60.0
"""Time between two lines about a refresh under way."""


def check_followed(followed: Followed, options: WatchOptions) -> RefreshPlan:
    """Refuse at the start what could never work: policy, network, layer, device.

    Returns:
        The plan of a refresh with random weights, to make the cache by.

    Raises:
        RefreshError: If the run never refreshes, or the device is not there.
        NetworkError: If the network can't be built, or has no layer to explain.
    """
    epochs = followed.policy.epochs()
    if not epochs:
        last = followed.policy.after(followed.policy.num_epochs - 1).reason
        raise RefreshError(
            f"run {options.run} never refreshes in its {followed.policy.num_epochs} epochs, one "
            f"each {followed.policy.interval}: nothing to watch ({last})"
        )
    plan, _ = _plan(followed, options, replace(followed.network, weights="random"), None)
    options.log(
        "following",
        f"following {options.checkpoints}: refreshes after epochs "
        f"{shortened(epochs)}; {counted(len(followed.opened), 'image')}, into {options.cache}",
        epochs=list(epochs),
        num_samples=len(followed.opened),
    )
    return plan


def _plan(
    followed: Followed, options: WatchOptions, network: NetworkSource, epoch: int | None
) -> tuple[RefreshPlan, BuiltNetwork]:
    built = network.build()
    plan = plan_refresh(
        followed.data,
        network,
        options.cache,
        replace(followed.options, epoch=epoch),
        opened=followed.opened,
        built=built,
    )
    return plan, built


def refresh_from(
    checkpoint: Checkpoint,
    followed: Followed,
    options: WatchOptions,
    status: WatchStatus,
    stop: Callable[[], bool],
) -> RefreshReport:
    """Make the maps of all images with a checkpoint's weights, unless they were made before.

    Raises:
        NetworkError: If the checkpoint can't be read, or its weights do not fit.
        Stopped: If `stop` said so; what is done stays on disk.
    """
    network = replace(followed.network, weights=str(checkpoint.path.absolute()))
    plan, built = _plan(followed, options, network, checkpoint.epoch)
    earlier = _earlier_of_plan(plan)
    if earlier is not None:
        return RefreshReport(generation=earlier, reused=True, num_rows_found=0, seconds=0.0)
    return execute(
        plan,
        options.executor,
        opened=followed.opened,
        built=built,
        progress=_Shown(checkpoint.epoch, options, status),
        stop=stop,
    )


class _Shown:
    """Shows how far a refresh is: in the status at once, in the log now and then."""

    def __init__(self, epoch: int, options: WatchOptions, status: WatchStatus) -> None:
        self._epoch = epoch
        self._log = options.log
        self._status = status
        self._told = time.monotonic()
        self._dashboard: str | None = None

    def __call__(self, state: RefreshProgress) -> None:
        status, speed = self._status, round(state.images_per_second, 1)
        status.images_done, status.images_total = state.rows_done, state.rows_total
        status.images_per_second = speed
        if state.dashboard != self._dashboard:
            self._dashboard = state.dashboard
            self._log("dashboard", f"dashboard {state.dashboard}", dashboard=state.dashboard)
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._log(
                "progress",
                f"epoch {self._epoch}: {state.rows_done:,} of {state.rows_total:,} images, "
                f"{speed:,.0f} images/s",
                epoch=self._epoch,
                images=state.rows_done,
                images_total=state.rows_total,
                images_per_second=speed,
            )


def describe(
    epoch: int,
    report: RefreshReport,
    followed: Followed,
    options: WatchOptions,
    status: WatchStatus,
) -> None:
    """Tell of a publication; figures that can't be had do not undo it."""
    try:
        summary = refresh_summary(report, followed.opened)
    except (ScaeError, OSError) as error:
        options.log("no_report", f"epoch {epoch}: published, but there are no figures: {error}")
        return
    status.report = summary.fields
    if not report.reused:
        status.images_per_second = summary.fields["images_per_second"]
    lines = summary.text.splitlines()
    text = "\n".join([f"epoch {epoch}: {lines[0]}", *(f"  {line}" for line in lines[1:])])
    options.log("published", text, **{**summary.fields, "epoch": epoch})


def collect_old(options: WatchOptions, status: WatchStatus) -> None:
    """Apply retention, if it is asked for; what can't be removed now stays for the next time."""
    if options.keep is None:
        return
    try:
        store = SaliencyStore.open(options.cache, "r+")
        report = store.gc(keep=options.keep, grace_seconds=options.grace_seconds)
    except (ScaeError, OSError) as error:
        options.log("gc_failed", f"old generations stay for now: {error}")
        return
    status.removed += len(report.generations)
    if report.generations:
        word = "generation" if len(report.generations) == 1 else "generations"
        options.log(
            "collected",
            f"removed {word} {shortened(report.generations)}, {report.freed_bytes:,} bytes",
            generations=list(report.generations),
            freed_bytes=report.freed_bytes,
        )


def latest_epoch(cache: str | Path) -> int | None:
    """Return the epoch that the latest generation is from, None if nobody knows."""
    try:
        return SaliencyStore.open(cache).latest().provenance.epoch
    except StoreError:
        return None


def is_published(cache: str | Path, epoch: int, network: str) -> bool:
    """Tell whether some generation is from that epoch of a network of that name."""
    return any(
        (generation.provenance.epoch, generation.provenance.network) == (epoch, network)
        for generation in _readable(cache)
    )


def shortened(numbers: tuple[int, ...]) -> str:
    """List numbers for people; of many the first ones and the last one."""
    if len(numbers) <= 6:
        return ", ".join(map(str, numbers))
    return f"{', '.join(map(str, numbers[:3]))} ... {numbers[-1]}"


def _earlier_of_plan(plan: RefreshPlan) -> Generation | None:
    """Return a generation of this very plan that is not the latest one any more."""
    wanted = plan.generation.digest()
    newest_first = _readable(plan.cache)
    of_plan = (one for one in newest_first[1:] if one.manifest.plan.digest() == wanted)
    return next(of_plan, None)


def _readable(cache: str | Path) -> list[Generation]:
    """Return the generations that can be read, the newest first."""
    found = []
    try:
        store = SaliencyStore.open(cache)
    except CacheNotFoundError:
        return []
    for number in reversed(store.generations()):
        try:
            found.append(store.generation(number))
        except StoreError:  # collected meanwhile, or damaged
            continue
    return found
