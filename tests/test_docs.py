"""The pages build without a broken link, and name what the packages offer."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
API = (DOCS / "api.md").read_text()


def _build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = ["-b", "html", "-n", "-W", "--keep-going", "-q", "-d", f"{out}-trees"]
    return subprocess.run(
        [sys.executable, "-P", "-m", "sphinx", *words, str(source), str(out)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_pages_build_without_a_broken_link(tmp_path: Path) -> None:
    done = _build(DOCS, tmp_path / "html")
    assert done.returncode == 0, done.stderr
    pages = {path.stem: path.read_text() for path in (tmp_path / "html").glob("*.html")}
    assert pages.keys() >= {path.stem for path in DOCS.glob("*.md")}
    # They are read where there is no network: in the browser nothing comes from outside.
    fetched = re.compile(r"<(?:script|link|img)[^>]* (?:src|href)=.https?://[^>]*>")
    assert [found for text in pages.values() for found in fetched.findall(text)] == []
    assert "<math" in pages["methods"]


@pytest.mark.parametrize(
    "link", ["[x](nowhere.md)", "[x](other.md#nowhere)", "{py:func}`loaders.nowhere`"]
)
def test_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(DOCS / "conf.py", source)
    (source / "index.md").write_text(f"# Index\n\n{link}\n\n```{{toctree}}\nother\n```\n")
    (source / "other.md").write_text("# Other\n\n## Here\n")
    done = _build(source, tmp_path / "html")
    assert done.returncode != 0
    assert "nowhere" in done.stderr


@pytest.mark.parametrize("package", ["cache_store", "loaders", "pipeline"])
def test_every_public_name_is_in_the_reference(package: str) -> None:
    section = API.split(f"currentmodule:: {package}\n")[1].split("```")[0]
    listed = re.findall(r"\.\. auto\w+:: (\w+)", section)
    assert sorted(listed) == sorted(importlib.import_module(package).__all__)


PAGES_TEXT = "\n".join(path.read_text() for path in (DOCS.parent / "README.md", *DOCS.glob("*.md")))
BENCHMARKS = DOCS.parent / "benchmarks"
# A command's words: the script, then what stands before the closing quote or the line's end.
BENCHMARK = re.compile(r"benchmarks/(\w+\.py)((?: [^`\n]*)?)")


def test_every_benchmark_on_a_page_is_there_with_its_options() -> None:
    found = BENCHMARK.findall(re.sub(r"\s*\n\s*", " ", PAGES_TEXT))
    assert {name for name, _ in found} <= {path.name for path in BENCHMARKS.glob("*.py")}
    for name, words in found:
        text = (BENCHMARKS / name).read_text()
        for option in re.findall(r"(--[a-z-]+)", words.partition("`")[0]):
            assert f'"{option}"' in text, f"{name} has no {option}"
