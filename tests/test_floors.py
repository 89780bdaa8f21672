"""The house rules that keep imports going down and names unambiguous."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    "cache_store",
    "loaders",
    "pipeline.saliency",
    "pipeline.refresh",
    "pipeline.pictures",
    "pipeline.training",
    "pipeline.bench",
    "cli",
)
"""Lowest first; a module imports from its own floor and those below."""
SHARED = {"pipeline.errors"}
"""Belongs to no floor of the pipeline: every one of them raises these errors."""


def _floor(module: str) -> int | None:
    for level, name in enumerate(FLOORS):
        if module == name or module.startswith(f"{name}."):
            return level
    return None


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.append(node.module or "")
    return found


def _modules() -> list[Path]:
    tops = ("cache_store", "loaders", "pipeline", "cli")
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = _floor(module)
    for imported in _imports(path):
        below = _floor(imported)
        if below is None or imported in SHARED:
            continue
        if module == "pipeline":  # re-exports, lazily
            assert below < FLOORS.index("cli")
        elif module in SHARED:
            assert below <= FLOORS.index("loaders")
        else:
            assert own is not None
            assert below <= own, f"{module} imports {imported} from a floor above"


def test_the_store_imports_numpy_and_zarr_only() -> None:
    allowed = {"cache_store", "numpy", "zarr", "numcodecs", *sys.stdlib_module_names}
    for path in (ROOT / "cache_store").rglob("*.py"):
        # Object storage is an extra, imported where it is used.
        extra = {"obstore"} if path.name == "object_backend.py" else set()
        assert {name.split(".")[0] for name in _imports(path)} <= allowed | extra, path


def test_cutting_blocks_needs_no_engine() -> None:
    imported = _imports(ROOT / "pipeline/refresh/blocks.py")
    assert {name.split(".")[0] for name in imported} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("package", ["cache_store", "cli", "loaders", "pipeline"])
def test_root_packages_belong_to_this_distribution_alone(package: str) -> None:
    assert set(importlib.metadata.packages_distributions()[package]) == {"scae"}


@pytest.mark.parametrize("statement", ["import cli.main", "import loaders, pipeline, cache_store"])
def test_help_and_package_imports_do_not_load_torch(statement: str) -> None:
    code = f"{statement}; import sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("package", ["loaders", "pipeline", "cache_store"])
def test_every_public_name_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__doc__
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = module.nonsense


@pytest.mark.parametrize(
    "path",
    [*_modules(), *sorted((ROOT / "tests").rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("package", ["loaders", "pipeline", "cache_store"])
def test_no_public_name_is_hidden_by_a_module_of_that_name(package: str) -> None:
    module = importlib.import_module(package)
    submodules = {path.stem for path in (ROOT / package).iterdir()}
    assert not submodules & set(module.__all__)
