"""A Dask cluster: can it be reached, and does it run what this machine runs?"""

import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cache_store.errors import ScaeError
from cli.cluster_options import SCHEDULER_OPTIONS
from cli.doctor_check import OK, PROBLEM, WARNING, Check
from cli.doctor_versions import installed_versions

if TYPE_CHECKING:
    from distributed import Client

WAIT_SECONDS = 10.0
"""How long to wait for the scheduler."""
ANSWER_SECONDS = 30.0
"""How long to wait for the answers of its workers."""
NEEDED = ("scae", "torch", "torchvision", "numpy", "zarr", "numcodecs", "dask", "distributed",
          "simplejpeg")  # fmt: skip
"""What a worker can't do without."""
STRICT = ("scae", "python", "dask", "distributed")
"""Where another version than the client's breaks jobs, and does not only change them."""
CURE = "install the client's versions there, or start the job where they are"


def dask_checks(options: Mapping[str, Any]) -> list[Check]:
    """Check the cluster that `scheduler_options` named; nothing without one."""
    place = options["scheduler"] or options["scheduler_file"]
    if place is None:
        return []
    from pipeline.refresh.dask_cluster import ClusterOptions, connect

    until = time.monotonic() + WAIT_SECONDS
    cluster = ClusterOptions(**{name: options[name] for name in SCHEDULER_OPTIONS})
    try:
        with warnings.catch_warnings():
            # Dask warns of versions in its own words, we in ours.
            warnings.filterwarnings("ignore", category=Warning, module="distributed")
            with connect(cluster, "cpu", lambda: time.monotonic() > until) as client:
                return _compare(client, place)
    except (ScaeError, OSError, TimeoutError) as error:
        cure = "is it running, and can this machine reach its port? (docs/clusters.md)"
        return [Check.of_error("dask", error, cure)]


def _compare(client: "Client", place: str) -> list[Check]:
    async def ask() -> tuple[dict[str, Any], dict[str, Any]]:
        workers = await client.run(installed_versions, on_error="return")
        return await client.get_versions(), workers

    try:
        told, workers = client.sync(ask, callback_timeout=ANSWER_SECONDS)
    except TimeoutError:
        found = f"{place} is there, but not all of its workers answer within {ANSWER_SECONDS:.0f} s"
        return [Check("dask", PROBLEM, found, "look for one that hangs, and end it")]
    found = f"{place}, {len(workers)} worker{'s' * (len(workers) != 1)}"
    if not workers:
        return [Check("dask", WARNING, found, "jobs wait until some join")]
    broken = [Check.of_error("dask worker", answer, f"install scae there: {address}")
              for address, answer in workers.items() if isinstance(answer, Exception)]  # fmt: skip
    answers = {one: answer for one, answer in workers.items() if isinstance(answer, dict)}
    own = installed_versions()
    differing = [check for name in own if (check := _differing(name, own[name], answers))]
    differing += _of_scheduler(told, own)
    if not broken and not differing:
        same = ", ".join(f"{name} {own[name]}" for name in STRICT)
        return [Check("dask", OK, f"{found}, versions as here: {same}")]
    return [Check("dask", OK, found), *broken, *differing]


def _differing(name: str, own: str, answers: Mapping[str, dict[str, str]]) -> Check | None:
    """Return what is wrong with one package on workers, if anything is."""
    others = {place: answer.get(name) for place, answer in answers.items()}
    others = {place: version for place, version in others.items() if version != own}
    missing = [place for place, version in others.items() if version is None]
    if name not in (*NEEDED, "python"):  # obstore: only where the cache is in an object store
        others = {place: version for place, version in others.items() if version is not None}
    if not others:
        return None
    versions = sorted({version or "none" for version in others.values()})
    found = (
        f"{own} here, {' and '.join(versions)} on {len(others)} of {len(answers)} workers, "
        f"such as {next(iter(others))}"
    )
    grave = name in STRICT or (name in NEEDED and missing)
    return Check(f"dask {name}", PROBLEM if grave else WARNING, found, CURE)


def _of_scheduler(told: Mapping[str, Any], own: Mapping[str, str]) -> list[Check]:
    scheduler = told["scheduler"]
    found = {**scheduler["packages"], "python": scheduler["packages"]["python"].split(".final")[0]}
    return [
        Check(f"dask {name}", PROBLEM, f"{own[name]} here, {found[name]} on the scheduler", CURE)
        for name in ("python", "dask", "distributed")
        if found[name] != own[name]
    ]
