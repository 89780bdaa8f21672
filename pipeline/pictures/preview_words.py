"""What a preview says about itself, in a picture and on a page alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from cache_store.generation import Generation
from pipeline.pictures.preview_panel import Strength

PREVIEW_LINES = ("P(i, j)", "rectangles", "erased")
"""What a lambda's cells show, top to bottom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewWords:
    """Texts that hold for the whole preview."""

    title: str
    """What it is of."""
    facts: tuple[str, ...]
    """One a generation: what made its maps."""
    notes: tuple[str, ...]
    """How to read it."""


def preview_words(generations: Sequence[Generation], num_boxes: int) -> PreviewWords:
    """Say what the preview is of and how to read it."""
    numbers = [str(generation.number) for generation in generations]
    if len(numbers) == 1:
        which = f"generation {numbers[0]}"
    else:
        which = f"generations {', '.join(numbers[:-1])} and {numbers[-1]}"
    return PreviewWords(
        title=f"{generations[0].provenance.data} · {which}",
        facts=tuple(_fact(generation) for generation in generations),
        notes=(
            "P(i, j) of Eq. 4, as a multiple of the uniform density: blue where a centre is "
            "rarer, red where it is more often. Â beside λ: expected saliency at a centre.",
            f"Rectangles: {num_boxes} a picture with their centres, drawn by the loader's code; "
            "the random numbers are the same in all columns, only λ and map differ. "
            "Erased: the white one, as the network gets the image.",
        ),
    )


def lambda_text(lam: float) -> str:
    """Return a guidance strength with a proper minus sign."""
    return f"{lam:g}".replace("-", "\N{MINUS SIGN}")


def mean_text(strength: Strength) -> str:
    """Return the expected saliency at a centre."""
    return f"Â {strength.mean_saliency:.2f}"


def density_ends(limit: float) -> tuple[str, str]:
    """Return what the ends of the colour scale of densities mean."""
    return f"1/{limit:.1f}", f"{limit:.1f} times uniform"


def _fact(generation: Generation) -> str:
    made = generation.provenance
    height, width = generation.manifest.plan.map_shape
    epoch = "" if made.epoch is None else f", after epoch {made.epoch}"
    return (
        f"Generation {generation.number} ({generation.digest[:12]}): {made.method} of "
        f"{made.network}, layer {made.target_layer}, weights {made.weights} "
        f"{made.weights_digest[:12]}{epoch} · images squashed to {made.size} by {made.size}, "
        f"maps {height} by {width}"
    )
