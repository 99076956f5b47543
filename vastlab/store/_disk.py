"""Disks: waiting until something is on one, and saying what is wrong with one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vastlab.errors import DatabaseError


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn what the system says about a disk into an error that names the database."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"the database {str(root)!r} cannot be written: {reason}; nothing was added"
        raise DatabaseError(msg, hint="check free space and permissions") from error


def write_synced(path: Path, text: str) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
