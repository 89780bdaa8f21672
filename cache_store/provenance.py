"""What a generation's maps were made from: the record that decides whether they may be used."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from cache_store.errors import CacheFormatError
from cache_store.records import canonical_json, sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Everything that a map depends on. Equal provenance on one device type means equal bytes."""

    data: str
    """Name of the data set, for people."""
    fingerprint: str
    """Hex SHA-256 over the samples' ids and contents, whatever their order."""
    network: str
    """Name the network was built by."""
    weights: str
    """'random', 'default', 'checkpoint' or 'file'."""
    weights_digest: str
    """Hex SHA-256 of the state dict."""
    method: str = "gradcam"
    """Saliency method."""
    target_layer: str
    """Dotted name of the layer whose output is explained."""
    size: int
    """Side in pixels of the square that each whole image was squashed to."""
    mean: tuple[float, ...]
    """Per-channel mean subtracted from pixels in [0, 1]."""
    std: tuple[float, ...]
    """Per-channel divisor after that."""
    batch_size: int
    """Images a forward pass; batches of another size differ in a few bytes."""
    channels_last: bool
    """Whether tensors were laid out NHWC."""
    precision: str
    """'fp32' or 'bf16': precision of the forward pass; the map's sum is always float32."""
    device_type: str
    """'cpu' or 'cuda'."""
    code_version: str
    """Version of scae that made the maps."""
    epoch: int | None = None
    """0-based epoch whose end the weights are from, None outside training."""

    def digest(self) -> str:
        """Return the hex SHA-256 over all fields."""
        return sha256(canonical_json(self.as_dict()))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values = asdict(self)
        return {**values, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back what `as_dict` gave.

        Raises:
            CacheFormatError: If a field is missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise CacheFormatError(f"provenance has missing or unknown fields: {', '.join(odd)}")
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def differences(self, other: "Provenance") -> dict[str, tuple[Any, Any]]:
        """Return field -> (this value, other value) for every field that differs."""
        mine, theirs = self.as_dict(), other.as_dict()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
