"""Weight files of every common shape load; all others are refused in one line."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.errors import NetworkError
from pipeline.saliency.networks import build_network
from pipeline.saliency.weights import read_weights, weights_digest


class Evil:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (str(self.path),)


@pytest.fixture
def source() -> nn.Module:
    return build_network("resnet8", num_classes=10, seed=9).module


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize("kind", range(9))
def test_usual_checkpoints_load(kind: int, source: nn.Module, tmp_path: Path) -> None:
    state = source.state_dict()
    content = [
        state,
        {"model": state, "epoch": 3},
        {"state_dict": prefixed(state, "module."), "best_acc1": 0.5},
        {"network": state, "optimizer": {"lr": 0.1}},
        prefixed(state, "module."),
        prefixed(state, "_orig_mod."),
        prefixed(state, "module._orig_mod."),
        {key.replace("layer1.", "layer1._orig_mod."): value for key, value in state.items()},
        AveragedModel(source).state_dict(),
    ][kind]
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    built = build_network("resnet8", num_classes=10, weights=path)
    assert built.weights_kind == "file"
    assert built.weights_digest == weights_digest(source)


def test_seed_does_not_matter_with_a_file(source: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    digests = {
        build_network("resnet8", num_classes=10, weights=str(path), seed=seed).weights_digest
        for seed in (0, 1)
    }
    assert digests == {weights_digest(source)}


def test_digest_depends_on_content_alone(source: nn.Module) -> None:
    digest = weights_digest(source)
    assert len(digest) == 64
    assert weights_digest(source.to(memory_format=torch.channels_last)) == digest
    assert weights_digest(source.eval()) == digest
    with torch.no_grad():
        source.get_parameter("linear.bias")[3] += 1e-6
    assert weights_digest(source) != digest


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "order"])
def test_digest_sees_names_dtypes_and_shapes(change: str) -> None:
    def network(*, changed: bool) -> nn.Module:
        names = ["a", "b"]
        values = [torch.zeros(2, 3), torch.zeros(6)]
        module = nn.Module()
        if changed and change == "name":
            names[0] = "c"
        if changed and change == "dtype":
            values[0] = torch.zeros(2, 3, dtype=torch.int32)
        if changed and change == "shape":
            values[0] = torch.zeros(3, 2)
        pairs = list(zip(names, values, strict=True))
        for name, value in reversed(pairs) if changed and change == "order" else pairs:
            module.register_buffer(name, value)
        return module

    same = weights_digest(network(changed=True)) == weights_digest(network(changed=False))
    assert same == (change == "order")


def test_file_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "mark"
    torch.save({"model": {}, "evil": Evil(mark)}, path)
    with pytest.raises(NetworkError, match=r"must hold tensors alone.*could run code"):
        read_weights(path)
    assert not mark.exists()


def test_file_that_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.pth"
    text.write_text("these are not weights")
    short = tmp_path / "short.pth"
    torch.save({"a": torch.zeros(1000)}, short)
    short.write_bytes(short.read_bytes()[:1500])
    empty = tmp_path / "empty.pth"
    empty.touch()
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps([1, 2]))
    for path in (text, short, empty, plain):
        with pytest.raises(NetworkError, match=f"{path.name}'") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], r"must hold a state dict, got list"),
        ({}, r"must hold a state dict, bare or under 'model'.*, got an empty dict"),
        ({"epoch": 3, "lr": 0.1}, r"got epoch, lr"),
        (OrderedDict(a=torch.zeros(1), b=None), r"got b"),
    ],
)
def test_content_other_than_tensors_is_refused(
    content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(NetworkError, match=message):
        read_weights(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        NetworkError, match=r"'random', 'default' or a file, got 'defautl': no such"
    ):
        build_network("resnet8", num_classes=10, weights="defautl")
    with pytest.raises(NetworkError, match="a folder"):
        build_network("resnet8", num_classes=10, weights=tmp_path)


def test_weights_of_another_number_of_classes_name_both(source: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    message = r"must be for 100 classes, got 10 \(linear\.weight, linear\.bias\): use weights"
    with pytest.raises(NetworkError, match=message):
        build_network("resnet8", num_classes=100, weights=path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            "resnet14",
            r"got 36 missing \(layer1\.1\.bn1\.bias, .*, layer1.*, \.\.\.\): is it of another",
        ),
        (
            "torchvision:resnet18",
            r"missing \(.*\) and \d+ unexpected \(linear\.bias, linear\.weight\)",
        ),
    ],
)
def test_weights_of_a_deeper_network_name_the_first_keys(
    network: str, message: str, source: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    with pytest.raises(NetworkError, match=message) as caught:
        build_network(network, num_classes=10, weights=path)
    assert len(str(caught.value)) < 500


def test_weights_of_a_wider_network_name_shapes(source: nn.Module, tmp_path: Path) -> None:
    state = source.state_dict()
    state["conv1.weight"] = torch.zeros(16, 3, 5, 5)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(NetworkError, match=r"conv1\.weight \(16, 3, 5, 5\) for \(16, 3, 3, 3\)"):
        build_network("resnet8", num_classes=10, weights=path)
