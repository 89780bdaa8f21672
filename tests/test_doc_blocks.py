"""The runner of the pages' blocks must notice what a reader would stumble over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from tests.doc_blocks import NotRun, PagePlan, ReaderFolder, Swap, check_options, run_page

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> ReaderFolder:
    """The folder of a reader who has no commands of the project."""
    return ReaderFolder(tmp_path, tmp_path, ())


def _run(folder: ReaderFolder, text: str, plan: PagePlan | None = None) -> None:
    page = folder.home / "page.md"
    page.write_text(text)
    run_page(page, plan or PagePlan(rows=True), folder)


def test_what_one_block_exports_and_writes_is_there_in_the_next(folder: ReaderFolder) -> None:
    _run(
        folder,
        "```sh\nexport WORD=seen\necho 1 > file\n```\n"
        "```sh\necho $WORD $(cat file) 2.5\n```\n```text\nseen 7 1e3\n```\n",
    )


def test_lines_between_and_columns_that_move_are_passed_over(folder: ReaderFolder) -> None:
    _run(
        folder,
        "```sh\nprintf 'a  10 x\\nb\\nc\\nd 3 of 4: y z\\n'\n```\n"
        "```text\na   9 x\n...\nd 1 of 2: ... z\n```\n",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nfalse\necho after\n```\n", "failed: false"),
        ("```sh\nfalse | true\n```\n", "ends with 1"),
        ("```sh\necho one\n```\n```text\ntwo\n```\n", "is not what is printed"),
        ("```sh\nprintf 'a\\nb\\nc\\n'\n```\n```text\na\nc\n```\n", "is not what is printed"),
        ("```text\none\n```\n", "nothing tries this block"),
        ("```\necho one\n```\n", "nothing tries this block"),
        ("```toml\na = 1\n```\n", "nothing tries this block"),
        ("| a wish | `python -P nowhere.py` |\n", "ends with"),
    ],
)
def test_what_does_not_do_as_printed_fails(folder: ReaderFolder, text: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        _run(folder, text)


def test_plan_of_what_a_page_no_longer_has_fails(folder: ReaderFolder) -> None:
    text = "```sh\necho one\n```\n"
    with pytest.raises(AssertionError, match=r"not in page\.md: .*gone"):
        _run(folder, text, PagePlan(swaps=(Swap("gone", "echo", "no reason"),)))
    with pytest.raises(AssertionError, match=r"not in page\.md: .*gone"):
        _run(folder, text, PagePlan(not_run=(NotRun("gone", "no reason"),)))


@pytest.mark.parametrize(
    "line",
    [
        "scae train --no-such-option --run runs/a",
        "srun scae refresh --data d --cache c --network n --precision fp64",
        "scae train --run a \\\n    --seed no-number &",
        "if true; then echo",
    ],
)
def test_wrong_words_are_noticed_where_a_block_is_only_checked(
    folder: ReaderFolder, line: str
) -> None:
    plan = PagePlan(not_run=(NotRun("", "it can't be run here"),))
    with pytest.raises((AssertionError, click.UsageError)):
        _run(folder, f"```sh\n{line}\n```\n", plan)


def test_option_that_a_text_names_must_be_one_of_the_commands() -> None:
    check_options(["refresh", "...", "--part", "1/2"])
    with pytest.raises(click.NoSuchOption):
        check_options(["refresh", "--pard", "1/2"])
