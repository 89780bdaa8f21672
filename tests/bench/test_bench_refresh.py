"""`scae bench refresh`: its figures, and that contenders have to agree."""

import importlib
import json

import pytest
import torch
from click.testing import CliRunner

from cli.main import main
from pipeline.bench import contenders, refresh_speed
from pipeline.bench.refresh_speed import SpeedOptions, measure_network
from pipeline.errors import BenchError
from pipeline.saliency.grad_cam import GradCam

QUICK = SpeedOptions(batch_size=2, rounds=3, precision="bf16")


def test_table_has_all_contenders_and_rivals_agree() -> None:
    figures = measure_network("resnet8", 16, QUICK)
    assert figures.layer == "layer3"
    differences = {one.name: one.difference for one in figures.contenders}
    assert list(differences) == [
        "forward pass alone, fp32",
        "scae, fp32",
        "torchcam",
        "captum",
        "pytorch-grad-cam",
        "forward pass alone, fp32, channels last",
        "scae refresh, fp32, channels last",
        "forward pass alone, bf16, channels last",
        "scae refresh, bf16, channels last",
    ]
    assert all((differences[rival] or 0.0) <= 1e-5 for rival in contenders.RIVALS)
    assert 0 < (differences["scae refresh, bf16, channels last"] or 0.0) < 0.1
    assert all(one.images_per_second.median > 0 for one in figures.contenders)


def test_wrong_maps_end_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = GradCam.maps_and_logits

    def doubled(
        self: GradCam, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        maps, logits = plain(self, images, labels)
        return maps * 1.001, logits

    monkeypatch.setattr(GradCam, "maps_and_logits", doubled)
    with pytest.raises(BenchError, match="maps of torchcam must equal ours to 1e-05"):
        measure_network("resnet8", 16, QUICK)


def test_command_prints_one_json_object() -> None:
    result = CliRunner().invoke(
        main,
        "bench refresh --network resnet8 --size 16 --batch-size 2 --rounds 3 --precision fp32"
        " --without pytorch-grad-cam --json".split(),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["environment"]["torch"] == torch.__version__.split("+")[0]
    (network,) = report["networks"]
    assert [one["name"] for one in network["contenders"]] == [
        "forward pass alone, fp32",
        "scae, fp32",
        "torchcam",
        "captum",
        "forward pass alone, fp32, channels last",
        "scae refresh, fp32, channels last",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--without camtorch", "without must name torchcam, captum, pytorch-grad-cam, got camt"),
        ("--network resnet9", "network must be a CIFAR ResNet"),
    ],
)
def test_wrong_words_are_one_line(words: str, message: str) -> None:
    result = CliRunner().invoke(main, f"bench refresh --rounds 3 {words}".split())
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_missing_rival_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BenchError, match=r"torchcam needs the package torchcam.*scae\[bench\]"):
        refresh_speed.measure_network("resnet8", 16, QUICK)
