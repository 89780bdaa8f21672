"""Pages as a reader sees them: opened in a headless Chromium at a given width."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")

MEASURE = """async () => {
  const pictures = [...document.querySelectorAll('img')];
  await Promise.all(pictures.map((picture) => picture.decode()));
  const layers = [...document.querySelectorAll('svg image')];
  await Promise.all(layers.map((layer) => layer.decode()));
  const size = (part) => {
    const box = part.getBoundingClientRect();
    return Math.min(box.width, box.height);
  };
  return {
    natural: pictures.map((picture) => picture.naturalWidth),
    sizes: [...pictures, ...document.querySelectorAll('svg')].map(size),
    unnamed: pictures.filter((picture) => !picture.alt).length
      + document.querySelectorAll('svg:not([aria-label])').length,
    width: document.documentElement.scrollWidth,
    window: window.innerWidth,
  };
}"""
"""Fails if an embedded picture can't be decoded; sizes are the smaller sides in CSS pixels."""


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """Start Chromium, or skip the test where the machine has none."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium in PATH, looked for {', '.join(NAMES)}")
    with sync_playwright() as driver:
        words = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=program, args=words)
        try:
            yield browser
        finally:
            browser.close()


def measure(browser: Browser, path: Path, width: int) -> dict[str, Any]:
    """Open a page in a window of that width and measure what is seen; it may fetch nothing."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri())
    found: dict[str, Any] = page.evaluate(MEASURE)
    page.close()
    found["fetched"] = [url for url in fetched if not url.startswith(("file:", "data:"))]
    return found


def check_whole(browser: Browser, path: Path, width: int) -> int:
    """Check that a page shows all its pictures, named, within that width, and fetches nothing.

    Returns:
        How many pictures it shows, beside those drawn in place.
    """
    seen = measure(browser, path, width)
    assert all(natural > 0 for natural in seen["natural"])
    assert all(size > 20 for size in seen["sizes"])
    assert seen["unnamed"] == 0
    assert seen["window"] == width
    assert seen["width"] <= width
    assert seen["fetched"] == []
    return len(seen["natural"])
