"""Types of options whose words a shell can complete: data sets, networks, recipe files.

None of it imports torch: a key press must be answered at once. So the names stand here, and a test
compares them with those that are really known.
"""

import importlib.util
import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

DATA_NAMES = ("shapes", "cifar10", "cifar100", "imagenet")
"""Data sets by name."""
CIFAR_NAMES = (
    "resnet8", "resnet14", "resnet20", "resnet26", "resnet32", "resnet44", "resnet56", "resnet110",
    "resnet8x4", "resnet32x4",
)  # fmt: skip
"""Networks of the project's own."""
FAMILIES = ("torchvision:", "timm:")
"""How names of others' networks begin."""
RECIPES = Path("recipes")
"""Folder of the project's recipes, seen from its root."""
REGISTERED = re.compile(r"^@register_model\([^)]*\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
"""How torchvision's source declares a network."""

Items = list["CompletionItem[str]"]


class DataType(StringParamType):
    """A data set by name, or a folder."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """Complete names, and else folders."""
        return _matching(DATA_NAMES, incomplete) or [CompletionItem(incomplete, type="dir")]


class NetworkType(StringParamType):
    """A network by name."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """Complete names, of torchvision's networks once its name is there, and else files."""
        known = [*CIFAR_NAMES, *FAMILIES]
        if incomplete.startswith(FAMILIES[0]):
            known = [f"{FAMILIES[0]}{name}" for name in torchvision_names()]
        return _matching(known, incomplete) or [CompletionItem(incomplete, type="file")]


class RecipeType(click.Path):
    """A recipe file; the folder of the project's recipes need not be typed."""

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(exists=exists, dir_okay=not exists, path_type=Path)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """Complete the project's recipes by path or name, and else files."""
        files = sorted(RECIPES.glob("*.toml"))
        words = [
            str(file)
            for file in files
            if f"{file}".startswith(incomplete) or file.name.startswith(incomplete)
        ]
        return [CompletionItem(word) for word in words] or [CompletionItem(incomplete, type="file")]


DATA, NETWORK, RECIPE = DataType(), NetworkType(), RecipeType()


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers, read from its source files."""
    found = importlib.util.find_spec("torchvision")
    folders = [] if found is None else found.submodule_search_locations or []
    files = [file for folder in folders for file in Path(folder, "models").glob("*.py")]
    return sorted(name for file in files for name in REGISTERED.findall(file.read_text()))


def _matching(words: list[str] | tuple[str, ...], incomplete: str) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
