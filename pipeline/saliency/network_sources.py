"""Where networks come from: this project, torchvision, timm, or a user's own callable."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from pipeline.errors import NetworkError
from pipeline.saliency.cifar_resnet import CIFAR_NETWORKS, CifarResNet
from pipeline.saliency.hooks import unwrap

__all__ = [
    "Blueprint",
    "Request",
    "cifar_network",
    "timm_network",
    "torchvision_network",
    "unknown_network",
    "user_network",
]

Triple = tuple[float, float, float]

_IMAGENET_SIZE = 224
_IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
_IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
# CIFAR-10's, which LDAM-DRW and its followers use for CIFAR-100 as well.
_CIFAR_SIZE = 32
_CIFAR_MEAN: Triple = (0.4914, 0.4822, 0.4465)
_CIFAR_STD: Triple = (0.2023, 0.1994, 0.2010)
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a source needs to know to build a network."""

    name: str
    """As the user wrote it, with its prefix."""
    num_classes: int
    """K."""
    pretrained: bool
    """Whether the library's own weights are wanted."""
    options: Mapping[str, Any]
    """Further keyword arguments of the constructor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """A network fresh from its source, and how images are prepared for it."""

    module: nn.Module
    """On the CPU, unwrapped."""
    native_size: int = _IMAGENET_SIZE
    """Side of the images in pixels."""
    mean: Triple = _IMAGENET_MEAN
    """Per colour, of images in [0, 1]."""
    std: Triple = _IMAGENET_STD
    """Per colour."""


def cifar_network(request: Request) -> Blueprint:
    """Build one of the CIFAR ResNets."""
    if request.pretrained:
        raise NetworkError(
            f"weights of {request.name!r} must be 'random' or a file, got 'default': there are no"
            " published ones to fetch"
        )
    arguments = CIFAR_NETWORKS[request.name]
    module = _call(request, CifarResNet, {**arguments, "num_classes": request.num_classes})
    return Blueprint(module=module, native_size=_CIFAR_SIZE, mean=_CIFAR_MEAN, std=_CIFAR_STD)


def torchvision_network(request: Request) -> Blueprint:
    """Build a torchvision classifier; sizes and means are those of its published weights."""
    from torchvision import models  # slow, and the CIFAR networks do without

    name = request.name.removeprefix("torchvision:")
    known = models.list_models(module=models)
    if name not in known:
        raise unknown_network(request.name, (f"torchvision:{other}" for other in known))
    published = models.get_model_weights(name).DEFAULT
    if request.pretrained:
        _check_classes(request, len(published.meta["categories"]))
    arguments: dict[str, Any] = {"weights": published if request.pretrained else None}
    if not request.pretrained:
        arguments["num_classes"] = request.num_classes
    cure = f"if it is the download, fetch {published.url} elsewhere and give that file as weights"
    module = _call(request, models.get_model_builder(name), arguments, cure=cure)
    prepare = published.transforms()
    return Blueprint(
        module=module,
        native_size=prepare.crop_size[0],
        mean=_triple(request, "mean", prepare.mean),
        std=_triple(request, "std", prepare.std),
    )


def timm_network(request: Request) -> Blueprint:
    """Build a timm network; sizes and means are those of its pretrained configuration."""
    try:
        library = importlib.import_module("timm")
    except ImportError as error:
        raise NetworkError(
            f"network {request.name!r} needs the package timm, got {_brief(error)}: install it"
            " with pip install 'scae[timm]'"
        ) from error
    name = request.name.removeprefix("timm:")
    if not library.is_model(name):
        raise unknown_network(request.name, (f"timm:{other}" for other in library.list_models()))
    if request.pretrained:
        published = library.get_pretrained_cfg(name)
        _check_classes(request, published.num_classes if published else 0)
    arguments = {"pretrained": request.pretrained, "num_classes": request.num_classes}
    cure = "if it is the download, save its state_dict elsewhere and give that file as weights"
    module = _call(request, library.create_model, {"model_name": name, **arguments}, cure=cure)
    prepare = getattr(module, "pretrained_cfg", None) or {}
    return _described(request, module, prepare)


def user_network(request: Request) -> Blueprint:
    """Build a network by a user's callable, `package.module:name` or `path/to/file.py:name`."""
    place, _, attribute = request.name.rpartition(":")
    module = (
        _import_file(request, Path(place)) if place.endswith(".py") else _import(request, place)
    )
    builder = getattr(module, attribute, None)
    if not callable(builder):
        known = (name for name, value in vars(module).items() if callable(value))
        near = difflib.get_close_matches(attribute, known, n=3, cutoff=0.5)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        raise NetworkError(f"network must name a callable in {place!r}, got {attribute!r}{hint}")
    offered = {"num_classes": request.num_classes, "pretrained": request.pretrained}
    network = _call(request, builder, {key: offered[key] for key in _taken(builder, offered)})
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"network {request.name!r} must return a torch.nn.Module, got {type(network).__name__}"
        )
    inner = unwrap(network)
    names = ("input_size", "mean", "std")
    return _described(request, inner, {key: getattr(inner, key, None) for key in names})


def unknown_network(name: str, known: Iterable[str]) -> NetworkError:
    """Return the error for a name that is not among the `known` ones."""
    known = list(known)
    same = [other for other in known if other.endswith(f":{name}")]
    near = same or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return NetworkError(
        "network must be a CIFAR ResNet such as 'resnet32', 'torchvision:NAME', 'timm:NAME',"
        f" 'package.module:callable' or 'path/to/file.py:callable', got {name!r}{hint}"
    )


def _call(
    request: Request, builder: Callable[..., Any], arguments: Mapping[str, Any], *, cure: str = ""
) -> Any:  # noqa: ANN401  # foreign code returns anything
    clash = arguments.keys() & request.options.keys()
    if clash:
        raise NetworkError(
            f"options of {request.name!r} must not set {', '.join(sorted(clash))}, got"
            f" {dict(request.options)}: leave them out, they follow from data, name and weights"
        )
    try:
        return builder(**arguments, **request.options)
    except NetworkError:
        raise
    except Exception as error:  # foreign code may raise anything
        hint = cure if cure and request.pretrained else "see what its constructor takes"
        raise NetworkError(
            f"network {request.name!r} can't be built with options {dict(request.options)}, got"
            f" {_brief(error)}; {hint}"
        ) from error


def _taken(builder: Callable[..., Any], offered: Iterable[str]) -> list[str]:
    try:
        parameters = inspect.signature(builder).parameters
    except (TypeError, ValueError):  # some callables written in C don't tell
        return []
    passes_on = any(taken.kind is taken.VAR_KEYWORD for taken in parameters.values())
    # Builders that pass keywords on, such as torchvision's, take a number of classes all the same.
    return [name for name in offered if name in parameters or (passes_on and name == "num_classes")]


def _import(request: Request, place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except Exception as error:  # importing runs foreign code
        raise NetworkError(
            f"network {request.name!r} needs the module {place!r}, got {_brief(error)}: is it"
            " installed in this environment?"
        ) from error


def _import_file(request: Request, path: Path) -> ModuleType:
    if not path.is_file():
        raise NetworkError(
            f"network {request.name!r} needs the file {str(path)!r}, got none at {path.absolute()}:"
            " check the path"
        )
    # Its own entry in sys.modules, which dataclasses and pickle look up, and no other name.
    name = f"scae_network_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NetworkError(f"network {request.name!r} must be in a Python file, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # importing runs foreign code
        del sys.modules[name]
        raise NetworkError(
            f"network file {str(path)!r} can't be loaded, got {_brief(error)}: it must import"
            " without an error"
        ) from error
    return module


def _described(request: Request, module: nn.Module, prepare: Mapping[str, Any]) -> Blueprint:
    """Return a blueprint from `input_size`, `mean` and `std`, each of which may be missing."""
    size = prepare.get("input_size") or _IMAGENET_SIZE
    sides = {size} if isinstance(size, int) else set(tuple(size)[-2:])
    if len(sides) != 1:
        raise NetworkError(f"input_size of {request.name!r} must be square, got {size}")
    return Blueprint(
        module=module,
        native_size=int(sides.pop()),
        mean=_triple(request, "mean", prepare.get("mean") or _IMAGENET_MEAN),
        std=_triple(request, "std", prepare.get("std") or _IMAGENET_STD),
    )


def _triple(request: Request, what: str, values: Sequence[float]) -> Triple:
    numbers = [float(value) for value in values]
    if len(numbers) != 3:
        raise NetworkError(f"{what} of {request.name!r} must be 3 numbers, got {numbers}")
    return numbers[0], numbers[1], numbers[2]


def _check_classes(request: Request, published: int) -> None:
    if published != request.num_classes:
        found = f"{published} classes" if published else "no published weights"
        raise NetworkError(
            f"default weights of {request.name!r} must be for {request.num_classes} classes, got"
            f" {found}: use random weights, or a file trained on this data set"
        )


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
