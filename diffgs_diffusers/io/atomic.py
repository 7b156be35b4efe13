"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` that takes its place when the block ends without an error.

    After an error, or an interrupt, the temporary file is gone and an older file at ``path`` is untouched.

    Args:
        path: the file to write; its folder must exist. A link is followed.

    Yields:
        A binary stream.

    Raises:
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> with atomic_write("notes.bin") as stream:
        ...     _ = stream.write(b"all of it")
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {target.parent} does not exist; create it first.")
    # Beside the target, as only a rename within one file system is atomic; opened by hand, as files from
    # `tempfile` can be read by their owner alone. Its name leaves the target's out, which may be as long as a
    # name can be.
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
