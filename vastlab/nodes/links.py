"""Folders of links to files: the engine reads one path, a file or all files of a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence

_MOST = 32  # folders that are kept for the next question


class Links:
    """Keeps the folders, since the engine remembers what it has read of a path."""

    def __init__(self) -> None:
        self._root = ""
        self._folders: dict[tuple[str, ...], str] = {}
        self._used: list[str] = []
        self._made = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def path_of(self, paths: Sequence[str]) -> Iterator[str]:
        """Return the path of a file, or of a folder of links, which ends with a slash.

        Raises
        ------
        OSError
            The folder cannot be made, or is gone.
        """
        if len(paths) == 1:
            yield paths[0]
            return
        with self._lock:
            folder = self._folder(tuple(paths))
        try:
            yield f"{folder}/"
            # Programs that clean up temporary files leave the engine without any event.
            _count(folder, len(paths))
        finally:
            with self._lock:
                self._used.remove(folder)

    def _folder(self, paths: tuple[str, ...]) -> str:
        """Use the folder that is known, or make one; the oldest ones go."""
        folder = self._folders.pop(paths, "")
        try:
            _count(folder, len(paths))
        except OSError:
            folder = self._new(paths)
        self._folders[paths] = folder
        self._used.append(folder)
        unused = [known for known, path in self._folders.items() if path not in self._used]
        for known in unused[: max(0, len(self._folders) - _MOST)]:
            shutil.rmtree(self._folders.pop(known), ignore_errors=True)
        return folder

    def _new(self, paths: Sequence[str]) -> str:
        if not os.path.isdir(self._root):
            self._root = tempfile.mkdtemp(prefix="vastlab-")
            weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        self._made += 1
        folder = f"{self._root}/{self._made}"
        os.mkdir(folder)
        for number, path in enumerate(paths):
            os.symlink(os.path.realpath(path), f"{folder}/{number}.parquet")
        return folder


def _count(folder: str, number: int) -> None:
    if len(os.listdir(folder)) != number:
        raise FileNotFoundError(f"links are missing in {folder}")
