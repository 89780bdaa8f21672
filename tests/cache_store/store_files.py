"""The files of a store in a folder: which there are, and how old they look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cache_store.layout import generation_key, manifest_key, plan_key, published_key, receipts_key
from cache_store.local_backend import LocalBackend
from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from pathlib import Path


def backend_of(store: SaliencyStore) -> LocalBackend:
    backend = store._backend
    if not isinstance(backend, LocalBackend):
        pytest.fail("these tests look at files")
    return backend


def root_of(store: SaliencyStore) -> Path:
    return backend_of(store).root


def keys(store: SaliencyStore) -> list[str]:
    root = root_of(store)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def keys_of(store: SaliencyStore, number: int) -> list[str]:
    """Return what is there of one generation."""
    names = (generation_key(number), receipts_key(number), manifest_key(number))
    ours = (*names, plan_key(number), published_key(number))
    return [key for key in keys(store) if key.startswith(ours)]


def age(store: SaliencyStore, seconds: float) -> None:
    """Make everything there look that much older to the store's clock."""
    for path in root_of(store).rglob("*"):
        if path.is_file():
            written = path.stat().st_mtime - seconds
            os.utime(path, (written, written))
