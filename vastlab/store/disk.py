"""Durable writes, file locks, and temporary folders that are cleaned up after a crash."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from vastlab.endpoints import as_path
from vastlab.errors import DatabaseError, UsageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})


@contextlib.contextmanager
def disk_errors(root: object) -> Iterator[None]:
    """Turn an `OSError` into a `DatabaseError` that names the database."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"cannot write to the database {str(root)!r}: {reason}; nothing was added"
        raise DatabaseError(msg, hint="check the free space and the permissions") from error


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_BINARY = getattr(os, "O_BINARY", 0)  # Windows only


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, if the system supports it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(staged: Path, path: Path) -> bool:
    """Create a hard link to a complete file; return False if the name already exists.

    The commit protocol relies on this step: of all writers, only one creates the name.
    """
    try:
        os.link(staged, path)
    except OSError as error:
        # On a network file system, the link may exist although the call failed.
        if is_same(staged, path):
            return True
        if isinstance(error, FileExistsError):
            return False
        if error.errno not in _NO_LINKS:
            raise
        msg = f"cannot create hard links in {str(path.parent)!r}: {error.strerror}"
        raise DatabaseError(msg, hint="store the database on a local disk") from error
    return True


def is_same(staged: Path, path: Path) -> bool:
    """Return whether two paths exist and are the same file."""
    try:
        return os.path.samefile(staged, path)
    except OSError:
        return False


def lock(descriptor: int, *, shared: bool = False) -> None:
    """Lock an open file until it is closed; waits for others. Has no effect on Windows."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(descriptor: int) -> bool:
    """Lock an open file exclusively until it is closed; False if another process holds a lock."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


GRACE = 3600.0
_LOCK, _ABANDONED = ".lock", ".dead"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def temporary_folder(folder: Path, prefix: str = "") -> Iterator[Path]:
    """Create a temporary subfolder with a lock, and remove abandoned ones."""
    remove_abandoned(folder, GRACE, prefix)
    lock, descriptor = _create_lock(folder, prefix)
    made = lock.with_suffix("")
    try:
        os.mkdir(made)
        yield made
    finally:
        with contextlib.suppress(OSError):
            _remove(made)  # renamed first: who still writes to it must not find it
        shutil.rmtree(made, ignore_errors=True)
        _release_lock(lock, descriptor)


def is_staging(name: str) -> bool:
    """Return whether a name is one of a `temporary_folder` without a prefix, or of its lock."""
    stem = name.removesuffix(_LOCK).removesuffix(_ABANDONED)
    return len(stem) == 32 and not set(stem) - set("0123456789abcdef")


def remove_abandoned(folder: Path, grace: float, prefix: str = "") -> None:
    """Remove temporary folders of processes that have ended.

    If a lock does not show this, the folder must be unchanged for `grace` seconds.
    """
    deadline = time.time() - grace
    with contextlib.suppress(OSError):
        names = {name for name in os.listdir(folder) if name.startswith(prefix)}
        for name in sorted(names):
            path = folder / name
            if prefix and not is_staging(name.removeprefix(prefix)):
                continue
            with contextlib.suppress(OSError):
                if name.endswith(_ABANDONED):
                    shutil.rmtree(path)
                elif name.endswith(_LOCK):
                    _remove_if_abandoned(path, deadline)
                elif f"{name}{_LOCK}" not in names and os.stat(path).st_mtime < deadline:
                    _remove(path)


def _create_lock(folder: Path, prefix: str) -> tuple[Path, int]:
    """Create a lock file and lock it."""
    while True:
        lock = folder / f"{prefix}{uuid.uuid4().hex}{_LOCK}"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                os.write(descriptor, _machine_id())
                return lock, descriptor
        except OSError:
            # The file system does not support locks: the grace period protects the folder.
            return lock, descriptor
        # Another process removed the file before it was locked.
        os.close(descriptor)


def _remove_if_abandoned(lock: Path, deadline: float) -> None:
    descriptor = os.open(lock, os.O_RDWR)
    is_dead = False
    try:
        folder = lock.with_suffix("")
        if os.read(descriptor, 100) == _machine_id():
            is_dead = try_lock(descriptor)
        else:
            is_dead = os.stat(folder if folder.exists() else lock).st_mtime < deadline
        if is_dead:
            with contextlib.suppress(FileNotFoundError):
                _remove(folder)
    finally:
        if is_dead:
            _release_lock(lock, descriptor)
        else:
            os.close(descriptor)


def _release_lock(lock: Path, descriptor: int) -> None:
    """Delete a lock file while it is locked; on Windows it must be closed first."""
    if os.name == "nt":
        os.close(descriptor)
    with contextlib.suppress(OSError):
        os.unlink(lock)
    if os.name != "nt":
        os.close(descriptor)


def _remove(folder: Path) -> None:
    dead = folder.with_name(f"{folder.name}{_ABANDONED}")
    os.rename(folder, dead)
    shutil.rmtree(dead)


@functools.cache
def _machine_id() -> bytes:
    """Return an identifier of this machine; its processes see each other's locks."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return f"{platform.node()}:{uuid.getnode():x}".encode()


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Create a folder that gets its name `target` only when the block ends without error."""
    with staging_beside(target) as folder:
        yield folder
        if not rename_into_place(folder, target):
            raise FileExistsError(errno.EEXIST, "exists and is not empty", str(target))


@contextlib.contextmanager
def complete_folder(folder: str | Path) -> Iterator[Path]:
    """Create a folder for a user, as `new_folder` does; errors say what is wrong with its name."""
    target = as_path(folder, "the folder")
    try:
        if target.exists() and next(target.iterdir(), None):
            raise UsageError(
                f"the folder {str(target)!r} is not empty",
                hint="name a new one: nothing is overwritten",
            )
    except NotADirectoryError:
        raise UsageError(f"{str(target)!r} is a file, not a folder") from None
    try:
        with new_folder(target) as made:
            yield made
    except FileExistsError as error:
        msg = f"the folder {str(target)!r} was filled by another process meanwhile"
        raise UsageError(msg, hint="name another folder: nothing was written") from error
    except OSError as error:
        reason = error.strerror or error
        msg = f"the folder {str(target)!r} cannot be written: {reason}; nothing was kept"
        raise DatabaseError(msg, hint="check free space and permissions") from error


@contextlib.contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """Create a temporary folder that can later be renamed to `target`."""
    if os.path.ismount(target):
        raise OSError(errno.EBUSY, "is a mount point", str(target))
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent, f".{target.name}.") as folder:
        yield folder


def rename_into_place(folder: Path, target: Path) -> bool:
    """Rename a complete folder to `target`; False if `target` exists and is not empty."""
    target = Path(os.path.realpath(target))
    sync_folder(folder)
    try:
        if os.name == "nt" and target.exists():
            target.rmdir()  # it must be empty
        os.rename(folder, target)
    except OSError:
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            return False
        raise
    sync_folder(target.parent)
    return True
