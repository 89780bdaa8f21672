"""What `scae --version` says: of scae, torch and Python, without importing torch."""

import ast
import importlib.util
import platform
from importlib import metadata
from pathlib import Path

import click

BUILDS = {"cuda": "CUDA", "rocm": "ROCm", "hip": "ROCm", "xpu": "XPU"}
"""Name in torch/version.py -> what torch was built for if it has a value there."""


def show_version(context: click.Context, _option: click.Parameter, given: bool) -> None:  # noqa: FBT001
    """Print the versions and end the command (an option's callback)."""
    if given and not context.resilient_parsing:
        python = platform.python_version()
        click.echo(f"scae {metadata.version('scae')}, {torch_build()}, Python {python}")
        context.exit()


def torch_build() -> str:
    """Return torch's version and what it was built for, such as 'torch 2.9.0+cu128 (CUDA 12.8)'."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return "torch not installed"
    try:
        told = assignments(Path(found.origin).with_name("version.py").read_text())
        number = told["__version__"]
    except (OSError, SyntaxError, KeyError):  # built by somebody in a way of their own
        return f"torch {metadata.version('torch')}"
    builds = {f"{name} {told[key]}" for key, name in BUILDS.items() if told.get(key)}
    return f"torch {number} ({', '.join(sorted(builds)) or 'CPU only'})"


def assignments(source: str) -> dict[str, object]:
    """Return the constants that Python source assigns to names, without running it."""
    told: dict[str, object] = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign):
            target: ast.expr = line.targets[0]
        elif isinstance(line, ast.AnnAssign):
            target = line.target
        else:
            continue
        if isinstance(target, ast.Name) and isinstance(line.value, ast.Constant):
            told[target.id] = line.value.value
    return told
