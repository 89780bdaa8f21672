"""The file that a picture is written to: a PNG, or an HTML page that needs nothing else."""

from pathlib import Path

from loaders.errors import OptionError
from pipeline.refresh.whole_file import write_whole

PNG, HTML = ".png", ".html"
SUFFIXES = (PNG, HTML)


def checked_picture_path(path: Path, what: str = "preview") -> Path:
    """Return the path of a PNG or HTML file that can be made, or raise OptionError.

    Args:
        path: Where the picture is to lie.
        what: What messages call it.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(
            f"out of a {what} must end in .png or .html, got {path}: write {path.stem}.png"
        )
    if not path.parent.is_dir():
        raise OptionError(
            f"out of a {what} must lie in a folder that is there, got {path}: "
            f"make {path.parent} first"
        )
    if path.is_dir():
        raise OptionError(f"out of a {what} must be a file, got the folder {path}: add a name")
    return path


def is_page(path: Path) -> bool:
    """Tell whether the file is to be an HTML page, not a PNG."""
    return path.suffix.lower() == HTML


def write_picture(path: Path, content: bytes | str, what: str = "preview") -> None:
    """Write a picture or page whole or not at all, or raise OptionError."""
    try:
        write_whole(
            path,
            # Names of files may hold bytes that are no text.
            content.encode("utf-8", "replace") if isinstance(content, str) else content,
            fsync=False,
        )
    except OSError as error:
        raise OptionError(
            f"can't write {what} {path}: {error.strerror}; choose another --out"
        ) from error
