"""Versions of Python and packages, against what this scae was made for."""

import platform
from importlib import metadata

from packaging.requirements import Requirement

from cli.doctor_check import OK, PROBLEM, WARNING, Check

SHOWN = (
    "scae", "torch", "torchvision", "numpy", "zarr", "numcodecs", "dask", "distributed",
    "simplejpeg", "obstore",
)  # fmt: skip
"""Packages that get a line of their own however they are; others only where something is wrong."""


def version_checks() -> list[Check]:
    """Check Python, the packages that scae needs, and obstore."""
    needed = [Requirement(text) for text in metadata.requires("scae") or ()]
    wanted = {
        requirement.name: requirement
        for requirement in needed
        if requirement.marker is None or requirement.marker.evaluate({"extra": "s3"})
    }
    python = Check("python", OK, f"{platform.python_version()} on {platform.platform()}")
    checks = [_package(name, wanted.get(name)) for name in SHOWN]
    others = (_package(name, wanted[name]) for name in wanted if name not in SHOWN)
    return [python, *checks, *(check for check in others if check.status != OK)]


def installed_versions() -> dict[str, str]:
    """Return Python's version and those of the installed packages among `SHOWN`."""
    found = {"python": platform.python_version()}
    for name in SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _package(name: str, wanted: Requirement | None) -> Check:
    optional = wanted is not None and wanted.marker is not None
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if optional:
            return Check(name, OK, "not installed; only object stores need it: scae[s3]")
        return Check(name, PROBLEM, "not installed", f"pip install '{wanted or name}'")
    if wanted is not None and not wanted.specifier.contains(version, prereleases=True):
        status = WARNING if optional else PROBLEM
        cure = f"pip install '{name}{wanted.specifier}'"
        return Check(name, status, f"{version}, needed is {wanted.specifier}", cure)
    return Check(name, OK, version)
