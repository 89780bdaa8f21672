"""What a user sees who gives a command something wrong: one line, the cure, the right exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner, Result

from cache_store.store import SaliencyStore
from cli.main import main
from pipeline.saliency.networks import build_network

if TYPE_CHECKING:
    from pathlib import Path


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def _refresh(folder: Path, *words: object, network: str = "resnet8") -> Result:
    cache = folder.parent / "maps.zarr"
    return _scae(
        "refresh", "--data", folder, "--cache", cache, "--network", network, "--weights", "random",
        "--size", 16, *words,
    )  # fmt: skip


def _assert_refused(result: Result, *parts: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.output
    for part in parts:
        assert part in errors[0]


def test_refresh_records_method_and_concrete_precision(folder: Path) -> None:
    result = _refresh(folder, "--method", "scorecam", "--channels", 3, "--precision", "auto")
    assert result.exit_code == 0, result.output
    provenance = SaliencyStore.open(folder.parent / "maps.zarr").latest().provenance
    assert provenance.method == "scorecam:3"
    assert provenance.precision in ("fp32", "bf16")
    assert f"scorecam:3 in {provenance.precision} on cpu (auto: the CPU has " in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--channels 3", 1, "channels must be 1 or more and go with method scorecam, got 3 with"),
        ("--token-grid 7", 2, "must be rows x columns such as 14x14, got '7'"),
        ("--token-grid 0x7", 2, "must be rows x columns such as 14x14, got '0x7'"),
    ],
)
def test_refresh_refuses_methods_that_make_no_sense(
    words: str, code: int, message: str, folder: Path
) -> None:
    _assert_refused(_refresh(folder, *words.split()), message, code=code)


def test_refresh_publishes_and_info_tells_of_it(folder: Path) -> None:
    result = _refresh(folder, "--json", "--epoch", 3)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["generation"], report["num_samples"]) == (1, 18)
    cache = folder.parent / "maps.zarr"
    info = json.loads(_scae("cache", "info", cache, "--json").stdout)
    (generation,) = info["generations"]
    assert generation["digest"] == report["digest"]
    assert generation["provenance"]["epoch"] == 3
    text = _scae("cache", "info", cache).stdout
    assert "18 samples" in text
    assert "resnet8 layer layer3, weights random" in text
    assert "after epoch 3" in text
    assert "is there already" in _refresh(folder, "--epoch", 3).stdout


def test_dry_run_prints_the_plan_and_writes_nothing(folder: Path) -> None:
    result = _refresh(folder, "--dry-run")
    assert result.exit_code == 0
    assert "data, 18 images" in result.stdout
    assert not (folder.parent / "maps.zarr").exists()


def test_skipped_images_are_named_in_the_end(folder: Path) -> None:
    (folder / "bee" / "2.jpg").write_bytes(b"junk")
    result = _refresh(folder, "--on-error", "skip")
    assert result.exit_code == 0, result.output
    assert "1 image could not be read" in result.stdout
    assert "bee/2.jpg" in result.stdout


def test_missing_folder_is_named(tmp_path: Path) -> None:
    _assert_refused(_refresh(tmp_path / "nowhere"), "nowhere")
    assert not (tmp_path / "maps.zarr").exists()


def test_empty_class_is_named(folder: Path) -> None:
    (folder / "dog").mkdir()
    _assert_refused(_refresh(folder), "dog")
    assert not (folder.parent / "maps.zarr").exists()


def test_unreadable_image_is_named_and_nothing_is_published(folder: Path) -> None:
    (folder / "bee" / "2.jpg").write_bytes(b"\xff\xd8\xff junk")
    _assert_refused(_refresh(folder), "bee/2.jpg")
    assert SaliencyStore.open(folder.parent / "maps.zarr").generations() == ()


def test_weights_of_another_number_of_classes_are_refused(folder: Path) -> None:
    path = folder.parent / "weights.pt"
    torch.save(build_network("resnet8", num_classes=7).module.state_dict(), path)
    result = _scae(
        "refresh", "--data", folder, "--cache", folder.parent / "c", "--network", "resnet8",
        "--weights", path,
    )  # fmt: skip
    _assert_refused(result, "weights.pt", "7", "3")


def test_weights_file_with_code_in_it_is_refused(folder: Path) -> None:
    path = folder.parent / "weights.pt"
    torch.save({"model": build_network("resnet8", num_classes=3).module}, path)
    result = _scae(
        "refresh", "--data", folder, "--cache", folder.parent / "c", "--network", "resnet8",
        "--weights", path,
    )  # fmt: skip
    _assert_refused(result, "weights.pt")


def test_network_without_a_spatial_layer_is_refused(folder: Path, tmp_path: Path) -> None:
    module = tmp_path / "flat.py"
    module.write_text(
        "from torch import nn\n"
        "def build(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))\n"
    )
    _assert_refused(_refresh(folder, network=f"{module}:build"), "layer")


def test_wrong_target_layer_lists_the_candidates(folder: Path) -> None:
    _assert_refused(_refresh(folder, "--target-layer", "layer9"), "layer9", "layer3", "layer2")


def test_unknown_network_names_the_nearest(folder: Path) -> None:
    _assert_refused(_refresh(folder, network="resnet9"), "resnet9", "resnet8")


def test_unknown_data_names_the_nearest(tmp_path: Path) -> None:
    result = _scae(
        "refresh", "--data", "shape", "--cache", tmp_path / "c", "--network", "resnet8",
        "--weights", "random",
    )  # fmt: skip
    _assert_refused(result, "shapes")


def test_cache_made_for_other_data_is_refused(folder: Path) -> None:
    assert _refresh(folder).exit_code == 0
    (folder / "bee" / "5.jpg").unlink()
    _assert_refused(_refresh(folder), "18 samples", "has 17", "--cache")


def test_no_cache_names_the_command_that_makes_one(tmp_path: Path) -> None:
    _assert_refused(_scae("cache", "info", tmp_path / "none"), "no cache", "scae refresh")


def test_logits_that_are_not_finite_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    state = build_network("resnet8", num_classes=3).module.state_dict()
    state["linear.bias"][0] = torch.nan
    torch.save(state, path)
    result = _scae(
        "refresh", "--data", folder, "--cache", tmp_path / "c", "--network", "resnet8",
        "--weights", path, "--size", 16,
    )  # fmt: skip
    _assert_refused(result, "not finite", "ant/0.jpg")
    assert SaliencyStore.open(tmp_path / "c").generations() == ()


def test_two_places_to_run_are_a_usage_error(folder: Path) -> None:
    result = _refresh(folder, "--workers", 2, "--scheduler", "tcp://x:1")
    _assert_refused(result, "--workers and --scheduler", code=2)


def test_network_option_without_a_value_is_a_usage_error(folder: Path) -> None:
    _assert_refused(_refresh(folder, "--network-option", "x"), "KEY=VALUE", code=2)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--set", "train.epoch=3"], "did you mean train.epochs?"),
        (["--set", "augment.area=[0.5, 0.2]"], "area must be (low, high)"),
        (["--set", "augment.p_max=1.5"], "p_max must be in [0, 1], got 1.5"),
        (["--recipe", "nowhere.toml"], "no recipe nowhere.toml"),
    ],
    ids=["key", "rectangle", "probability", "file"],
)
def test_wrong_recipes_make_no_run_folder(tmp_path: Path, words: list[str], part: str) -> None:
    _assert_refused(_scae("train", "--run", tmp_path / "run", *words), part)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["refresh", "train", "preview", "cache", "cache info"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = _scae(*command.split(), "--help")
    assert result.exit_code == 0
    assert command == "cache" or "Example" in result.output


def test_unknown_command_and_option_are_usage_errors() -> None:
    assert _scae("refesh").exit_code == 2
    assert _scae("refresh", "--dat", "x").exit_code == 2


def test_version_is_the_distributions() -> None:
    assert "scae 0.1.0, torch 2." in _scae("--version").output
