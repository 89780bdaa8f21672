r"""Run `scae refresh` or `scae train` on Dask workers that are SLURM jobs, by dask-jobqueue.

Each worker is one job, so it starts as soon as there is room anywhere, and one that ends is
replaced. Needs `pip install scae[slurm]`. From a login node, or from a small job of its own:

    python -P scripts/slurm/jobqueue.py --jobs 8 --walltime 01:00:00 --cores 4 --memory 8GB -- \
        --data /data/photos --cache /shared/maps.zarr --network torchvision:resnet50 \
        --weights /shared/resnet50.pth

With `--command train` it runs `scae train`, whose maps such jobs make while training goes on; there
are none of them between refreshes:

    python -P scripts/slurm/jobqueue.py --command train --jobs 8 --walltime 01:00:00 -- \
        --recipe my.toml --run /shared/runs/my --resume

Exits with the code of the command: 75 if it was stopped and can be resumed.
"""

import argparse
import re
import signal
import subprocess
import sys
from types import FrameType

import dask
from dask_jobqueue import SLURMCluster

ALLOWED_FAILURES = 100
"""Workers that may end over one block before Dask blames the block."""
CLUSTER_OPTIONS = {
    "refresh": ("--scheduler", "{}"),
    "train": ("--set", "refresh.executor=dask", "--set", "refresh.scheduler={}"),
}
"""How a command is told of the cluster."""


def lifetime_seconds(walltime: str) -> int:
    """Return when a worker retires: before its job's walltime ends, by a twentieth or a minute.

    Args:
        walltime: As SLURM writes it, HH:MM:SS or D-HH:MM:SS.

    Raises:
        ValueError: If it is written in another way.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", walltime)
    if match is None:
        raise ValueError(f"walltime must be HH:MM:SS or D-HH:MM:SS, got {walltime!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return max(1, total - max(total // 20, 60))


def parse_arguments() -> argparse.Namespace:
    """Read the command line; what follows `--` is for the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=4, help="workers, each a job")
    parser.add_argument("--cores", type=int, default=2, help="cores of a worker")
    parser.add_argument("--memory", default="4GB", help="memory of a worker")
    parser.add_argument("--walltime", default="01:00:00", help="walltime of a worker's job")
    parser.add_argument("--queue", help="partition")
    parser.add_argument("--account", help="account that is charged")
    parser.add_argument("--interface", help="network interface, such as ib0")
    parser.add_argument("--directive", action="append", default=[], help="such as --gres=gpu:1")
    parser.add_argument("--local-directory", default="/tmp", help="scratch folder on the nodes")
    parser.add_argument("--command", choices=sorted(CLUSTER_OPTIONS), default="refresh")
    parser.add_argument("words", nargs="+", help="options of the command, after --")
    return parser.parse_args()


def start_cluster(arguments: argparse.Namespace) -> SLURMCluster:
    """Start a scheduler here; jobs are submitted by `adapt`."""
    lifetime = lifetime_seconds(arguments.walltime)
    dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES})
    return SLURMCluster(
        cores=1,  # one task at a time: the network uses the job's cores itself
        job_cpu=arguments.cores,
        processes=1,
        memory=arguments.memory,
        walltime=arguments.walltime,
        queue=arguments.queue,
        account=arguments.account,
        interface=arguments.interface,
        job_extra_directives=arguments.directive,
        local_directory=arguments.local_directory,
        job_script_prologue=[f"export OMP_NUM_THREADS={arguments.cores}"],
        worker_extra_args=[
            *("--lifetime", f"{lifetime}s"),
            *("--lifetime-stagger", f"{max(1, lifetime // 10)}s"),
        ],
        scheduler_options={"dashboard_address": ":0"},
    )


def main() -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments()
    with start_cluster(arguments) as cluster:
        # Both bounds equal: jobs that have ended are submitted anew, which scale() does not do.
        fewest = 0 if arguments.command == "train" else arguments.jobs
        cluster.adapt(minimum_jobs=fewest, maximum_jobs=arguments.jobs)
        place = CLUSTER_OPTIONS[arguments.command]
        options = [word.format(cluster.scheduler_address) for word in place]
        command = subprocess.Popen(["scae", arguments.command, *arguments.words, *options])

        def forward(signum: int, _frame: FrameType | None) -> None:
            command.send_signal(signum)

        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, forward)
        return command.wait()


if __name__ == "__main__":
    sys.exit(main())
