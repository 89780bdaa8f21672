"""Completion, as a shell asks for it: words and cursor in the environment, candidates in lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import word_types
from cli.bash_words import joined
from cli.main import main
from loaders.named_data import DATA_NAMES
from pipeline.saliency.networks import network_names

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def _complete(*words: str, shell: str = "bash") -> list[str]:
    """Return what is offered for the last word."""
    cursor = words[-1] if shell == "fish" else str(len(words))
    result = CliRunner().invoke(
        main,
        prog_name="scae",
        env={
            "_SCAE_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": " ".join(["scae", *words]),
            "COMP_CWORD": cursor,
        },
    )
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["re"], ["plain,refresh", "plain,report"]),
        (["cache", "ve"], ["plain,verify"]),
        (["train", "--res"], ["plain,--resume"]),
        (["evaluate", "--qui"], ["plain,--quiet"]),
        (["completion", ""], ["plain,bash", "plain,zsh", "plain,fish"]),
        (["refresh", "--data", "ci"], ["plain,cifar10", "plain,cifar100"]),
        (["train", "--data", "ph"], ["dir,ph"]),
        (["watch", "x", "--network", "resnet32"], ["plain,resnet32", "plain,resnet32x4"]),
        (["refresh", "--network", "tor"], ["plain,torchvision:"]),
        (["refresh", "--network", "mine.p"], ["file,mine.p"]),
        (["train", "--recipe", "recipes/table1_sc"], ["plain,recipes/table1_scae.toml"]),
        (["sweep", "table1_scae"], ["plain,recipes/table1_scae.toml"]),
        (["train", "--recipe", "my"], ["file,my"]),
        (["refresh", "--method", "s"], ["plain,scorecam"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bash_is_offered(words: list[str], offered: list[str]) -> None:
    assert _complete(*words) == offered


def test_zsh_and_fish_are_offered_the_same_words() -> None:
    assert _complete("cache", "ve", shell="zsh") == ["plain", "verify", "Check every byte of it."]
    found = _complete("refresh", "--network", "torchvision:alex", shell="fish")
    assert found == ["plain,torchvision:alexnet"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["a", "torchvision", ":", "res"], ["a", "torchvision:res"]),
        (["torchvision", ":"], ["torchvision:"]),
        (["s3", "://b"], ["s3://b"]),
        (["a", ""], ["a", ""]),
        ([":"], [":"]),
    ],
)
def test_words_with_colons_are_put_together(parts: list[str], words: list[str]) -> None:
    assert joined(parts) == words


def test_a_real_bash_completes_a_word_after_a_colon(tmp_path: Path) -> None:
    scae = tmp_path / "scae"
    scae.write_text(f"#!{sys.executable} -P\nfrom cli.main import main\nmain()\n")
    scae.chmod(0o755)
    program = (
        f'PATH={tmp_path}:$PATH; eval "$(scae completion bash)"\n'
        "COMP_WORDS=(scae refresh --network torchvision : resnet15); COMP_CWORD=5\n"
        '_scae_completion scae; echo "${COMPREPLY[@]}"; complete -p scae\n'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["resnet152", "complete -o nosort -F _scae_completion scae"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_asks_by_the_variable_that_scae_answers(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert f"_SCAE_COMPLETE={shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_names_offered_are_those_that_are_known() -> None:
    assert word_types.DATA_NAMES == DATA_NAMES
    others = [f"torchvision:{name}" for name in word_types.torchvision_names()]
    assert {*word_types.CIFAR_NAMES, *others} == set(network_names())
