"""Files that are there whole or not at all."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, data: bytes, *, fsync: bool = True) -> None:
    """Write a file so that it is there whole or not at all, whenever this process dies.

    Args:
        path: The file; one that is there is replaced.
        data: Its content.
        fsync: Wait until the disk has it, so that a power cut changes nothing either.

    Raises:
        OSError: If it can't be written.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
