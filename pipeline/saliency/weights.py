"""Read network weights from a file, and name them by a digest."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError

__all__ = ["load_weights", "read_weights", "state_digest", "weights_digest"]

_CONTAINERS = ("model", "state_dict", "network")
"""Keys under which checkpoints keep the state dict, in the order in which they are tried."""
_NUM_LISTED = 3
"""Parameter names given in an error message."""


def weights_digest(network: nn.Module) -> str:
    """Return the hex SHA-256 of a network's parameters and buffers.

    It covers each tensor's name, dtype, shape and bytes, in the order of the names, and depends
    neither on the device nor on the memory format. Wrappers change the names: unwrap first.
    """
    return state_digest(network.state_dict())


def state_digest(state: Mapping[str, object]) -> str:
    """Return the same of a network's state dict, as `read_weights` reads it from a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if not isinstance(tensor, Tensor):
            continue  # extra state of a module's own making has no canonical bytes
        header = f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode()
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(header)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, bare or inside a checkpoint, without running code from the file.

    Args:
        path: A file of `torch.save`: a state dict, or a dict with one under "model",
            "state_dict" or "network". Prefixes of DDP and `torch.compile` are stripped.

    Returns:
        Tensors on the CPU by parameter name.

    Raises:
        NetworkError: If the file is missing, unreadable or holds something else.
    """
    loaded = _load(path)
    for key in _CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise NetworkError(
            f"weights file {str(path)!r} must hold a state dict, got {type(loaded).__name__}:"
            " write it with torch.save(network.state_dict(), ...)"
        )
    others = [str(key) for key, value in loaded.items() if not isinstance(value, Tensor)]
    if others or not loaded:
        raise NetworkError(
            f"weights file {str(path)!r} must hold a state dict, bare or under"
            f" {', '.join(map(repr, _CONTAINERS))}, got {_listed(others) or 'an empty dict'}"
        )
    return _without_prefixes({str(key): value for key, value in loaded.items()})


def load_weights(network: nn.Module, path: Path, *, num_classes: int) -> None:
    """Fill `network` with the weights of a file; all of them and nothing else must be there.

    Args:
        network: An unwrapped network.
        path: As for `read_weights`.
        num_classes: K of the network, to explain a head that does not fit.

    Raises:
        NetworkError: If the file can't be read, or its names or shapes differ.
    """
    state = read_weights(path)
    own = network.state_dict()
    _check_names(path, missing=own.keys() - state.keys(), unexpected=state.keys() - own.keys())
    _check_shapes(path, state, own, num_classes)
    network.load_state_dict(state)


def _load(path: Path) -> object:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise NetworkError(
            f"weights must be 'random', 'default' or a file, got {str(path)!r}: {found}"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NetworkError(
            f"weights file {str(path)!r} must hold tensors alone, got damaged content or other"
            " objects, which could run code: write it with torch.save(network.state_dict(), ...)"
        ) from error
    except Exception as error:  # broken files make the reader raise almost anything
        reason = (str(error).splitlines() or [""])[0]
        raise NetworkError(
            f"weights file {str(path)!r} can't be read, got {type(error).__name__}: {reason};"
            " is it complete, and made by torch.save?"
        ) from error


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state.pop("n_averaged", None)  # the counter of AveragedModel
    # Compiled submodules leave theirs in the middle of a name.
    state = {key.replace("_orig_mod.", ""): value for key, value in state.items()}
    while state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _check_names(path: Path, *, missing: set[str], unexpected: set[str]) -> None:
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_listed(sorted(missing))})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_listed(sorted(unexpected))})")
    if parts:
        raise NetworkError(
            f"weights file {str(path)!r} must have the network's parameters, got"
            f" {' and '.join(parts)}: is it of another network?"
        )


def _check_shapes(
    path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor], num_classes: int
) -> None:
    wrong = [name for name in own if own[name].shape != state[name].shape]
    if not wrong:
        return
    # A head has K rows: where only those differ, the classes do.
    rows = {(len(own[name]), len(state[name])) for name in wrong if own[name].ndim}
    if len(rows) == 1 and all(own[name].shape[1:] == state[name].shape[1:] for name in wrong):
        expected, found = rows.pop()
        if expected == num_classes:
            raise NetworkError(
                f"weights file {str(path)!r} must be for {num_classes} classes, got {found}"
                f" ({_listed(wrong)}): use weights trained on this data set, or the data set they"
                " were trained on"
            )
    texts = [f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in wrong]
    raise NetworkError(
        f"weights file {str(path)!r} must have the network's shapes, got {_listed(texts)}: is it"
        " of another network?"
    )


def _listed(names: list[str]) -> str:
    more = ", ..." if len(names) > _NUM_LISTED else ""
    return ", ".join(names[:_NUM_LISTED]) + more
