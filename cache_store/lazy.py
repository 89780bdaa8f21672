"""Lazy re-exports for package `__init__` files (PEP 562), so that importing a floor stays cheap."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Build a package's `__getattr__` and `__dir__`.

    Args:
        package: Import name of the package, its `__name__`.
        modules: Public name -> full name of the module that defines it.

    Returns:
        The two functions to assign in the package's `__init__`.
    """

    def __getattr__(name: str) -> Any:  # noqa: ANN401, N807  # PEP 562's own signature
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(modules)

    return __getattr__, __dir__
