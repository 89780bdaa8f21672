"""Section [harvest] of a recipe: how maps are taken from training's own steps."""

from dataclasses import dataclass

from pipeline.training.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class HarvestRecipe:
    """Section [harvest], for refresh.mode = "harvest"."""

    any_head: bool = False
    """Take the maps of networks without a closed form by a backward pass through the head."""
    decay: float = 0.6
    """What an epoch leaves of the weight of the views before it, 0 or more and below 1."""
    erased: float = 0.5
    """What an erased view counts beside its rectangle, in [0, 1]; under it, it counts nothing."""
    mirrored: float = 0.2
    """What a mirrored view counts, in [0, 1]: to a network it is another image."""
    displaced: float = 0.4
    """What a view counts whose pixels lie a cell of the map from where the whole image has them,
    in [0, 1]; its square for two cells."""

    def __post_init__(self) -> None:
        require("decay", 0 <= self.decay < 1, "0 or more and below 1", self.decay)
        for name in ("erased", "mirrored", "displaced"):
            value = getattr(self, name)
            require(name, 0 <= value <= 1, "between 0 and 1", value)

    @property
    def record(self) -> str:
        """What the provenance of harvested maps names as their method: all that decides them."""
        head = ", any head" if self.any_head else ""
        weights = ", ".join(
            f"{name} {getattr(self, name):g}"
            for name in ("decay", "erased", "mirrored", "displaced")
        )
        return f"gradcam, harvested ({weights}{head})"
