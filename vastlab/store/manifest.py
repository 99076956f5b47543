"""The manifest: numbered generations that say what changed, and are never changed themselves.

Generation N is a file that lists what was added and dropped since an earlier one. A number
that 32 divides covers the last 32, one that 1024 divides the last 1024, and so on. Whoever
reads goes from the newest to the one that it starts from, until nothing is left: some dozens
of files, however many commits there were, and a commit writes little more than its own news.

A generation comes into being by a hard link, which fails where the number is taken already.
Then somebody else was faster, and the writer goes on from what that one left. Generations that
a later one covers are deleted after a while.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from vastlab.errors import CorruptFileError, DatabaseError
from vastlab.store import _writer
from vastlab.store._disk import sync_folder, write_synced
from vastlab.store.layout import DataFile, Layout, Range, Snapshot, Source, make_snapshot

FORMAT = {"format": "vastlab", "version": 1}
FOLDER = "generations"
SPAN = 32
_NAME = re.compile(r"(\d{9,})\.json")
_ATTEMPTS = 20
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})


@dataclass(frozen=True, slots=True)
class Change:
    """What a generation changes.

    Parameters
    ----------
    files
        New ones.
    dropped
        Absolute paths of files that are no longer part of the database.
    layouts
        Those of the new files, at least.
    sources, forgotten
        Sources that were read, and keys of sources that no longer count as read.
    """

    files: tuple[DataFile, ...] = ()
    dropped: frozenset[str] = frozenset()
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    forgotten: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Generation:
    number: int
    since: int
    change: Change


# --- reading --------------------------------------------------------------------------------


def load(root: Path, known: Snapshot | None = None) -> Snapshot:
    """Read the newest generation.

    Parameters
    ----------
    root
        The folder of the database.
    known
        What was read before; only what is newer is read then.
    """
    for _ in range(_ATTEMPTS):
        newest = _newest(root)
        if known is not None and known.generation == newest:
            return known
        try:
            return _load(root, newest, known)
        except FileNotFoundError as error:
            # It was covered by a newer one and deleted meanwhile, or is lost.
            missing = error.filename
    msg = f"a generation of the manifest is missing: {missing!r}"
    raise CorruptFileError(msg, hint="restore it from a backup")


def _load(root: Path, newest: int, known: Snapshot | None) -> Snapshot:
    chain: list[_Generation] = []
    number = newest
    base = known or _empty()
    while number > base.generation:
        chain.append(_read(root, number))
        number = chain[-1].since
    if number != base.generation:
        # A generation reaches back beyond what is known, and has dropped what came and went.
        return _load(root, newest, None)
    layouts, sources = dict(base.layouts), dict(base.sources)
    files = {file.path: file for file in base.files}
    for generation in reversed(chain):
        change = generation.change
        layouts |= change.layouts
        for path in change.dropped:
            files.pop(path, None)
        for key in change.forgotten:
            sources.pop(key, None)
        files |= {file.path: file for file in change.files}
        sources |= change.sources
    return make_snapshot(newest, layouts, files.values(), sources)


def _empty() -> Snapshot:
    return Snapshot(0, {}, ())


def _newest(root: Path) -> int:
    try:
        names = os.listdir(root / FOLDER)
    except FileNotFoundError:
        msg = f"the database {str(root)!r} has no folder {FOLDER!r}"
        raise CorruptFileError(msg, hint="restore it from a backup") from None
    matches = (_NAME.fullmatch(name) for name in names)
    return max((int(match[1]) for match in matches if match), default=0)


def file_of(root: Path, number: int) -> Path:
    """Return the file of a generation."""
    return root / FOLDER / f"{number:09d}.json"


def _read(root: Path, number: int) -> _Generation:
    path = file_of(root, number)
    try:
        return _decode(json.loads(path.read_bytes()), root)
    except FileNotFoundError:
        raise
    except Exception as error:
        # Whatever is wrong with it, the file is the reason.
        msg = f"a generation of the manifest cannot be read: {str(path)!r}: {error}"
        raise CorruptFileError(msg, hint="restore it from a backup") from error


# --- writing --------------------------------------------------------------------------------


def commit(
    root: Path, decide: Callable[[Snapshot], Change], known: Snapshot | None = None
) -> Snapshot:
    """Make a new generation.

    Parameters
    ----------
    root
        The folder of the database.
    decide
        Called with the newest snapshot, again whenever another writer was faster. What it
        raises ends the commit.
    known
        A snapshot that was read before.

    Returns
    -------
    Snapshot
        With the change.
    """
    while True:
        known = load(root, known)
        number = known.generation + 1
        change = _stamp(decide(known), number, known)
        generation = _cover(root, _Generation(number, number - 1, change))
        if generation is None:
            known = None
        elif _publish(root, generation):
            return load(root, known)


def _stamp(change: Change, number: int, known: Snapshot) -> Change:
    """Give the new files their number, and leave out layouts that are written down already."""
    files = tuple(replace(file, generation=number) for file in change.files)
    layouts = {key: value for key, value in change.layouts.items() if key not in known.layouts}
    return replace(change, files=files, layouts=layouts)


def _cover(root: Path, generation: _Generation) -> _Generation | None:
    """Let a round number cover the generations before it; None if these are gone by now."""
    number, span = generation.number, 1
    while number % (span * SPAN) == 0:
        span *= SPAN
    try:
        while generation.since > number - span:
            generation = _merge(_read(root, generation.since), generation)
    except FileNotFoundError:
        return None
    return generation


def _merge(older: _Generation, newer: _Generation) -> _Generation:
    old, new = older.change, newer.change
    came = {file.path for file in old.files}
    files = tuple(file for file in old.files if file.path not in new.dropped)
    sources = {key: value for key, value in old.sources.items() if key not in new.forgotten}
    change = Change(
        files=files + new.files,
        dropped=old.dropped | (new.dropped - came),
        layouts={**old.layouts, **new.layouts},
        sources={**sources, **new.sources},
        forgotten=old.forgotten | new.forgotten if older.since else frozenset(),
    )
    return _Generation(newer.number, older.since, change)


def _publish(root: Path, generation: _Generation) -> bool:
    """Link a generation to its number; False if the number was taken."""
    path = file_of(root, generation.number)
    staged = root / FOLDER / f"{uuid4().hex}.tmp"
    try:
        write_synced(staged, json.dumps(_encode(generation, root), separators=(",", ":")))
        won = _link(staged, path)
        if won and _newest(root) > generation.number:
            # This writer slept so long that its number had been covered and deleted.
            path.unlink()
            won = False
        sync_folder(path.parent)
        return won
    finally:
        staged.unlink(missing_ok=True)


def _link(staged: Path, path: Path) -> bool:
    try:
        os.link(staged, path)
    except FileExistsError:
        # On a network the answer to a link that worked may be lost, and the retry fails.
        return staged.stat().st_nlink > 1
    except OSError as error:
        if staged.exists() and staged.stat().st_nlink > 1:
            return True
        if error.errno not in _NO_LINKS:
            raise
        msg = f"the file system of {str(path.parent)!r} refuses hard links: {error.strerror}"
        raise DatabaseError(msg, hint="keep the database on a local disk") from error
    return True


def sweep(root: Path, grace: float) -> None:
    """Delete generations that a newer one covers, and what writers left that were killed."""
    number = _newest(root)
    needed = set()
    while number > 0:
        needed.add(file_of(root, number).name)
        number = _read(root, number).since
    deadline = time.time() - grace
    newest = max(needed, default="")
    for entry in os.scandir(root / FOLDER):
        covered = _NAME.fullmatch(entry.name) and entry.name < newest and entry.name not in needed
        if covered or entry.name.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < deadline:
                    os.unlink(entry.path)


# --- JSON -----------------------------------------------------------------------------------


def _encode(generation: _Generation, root: Path) -> dict[str, Any]:
    change = generation.change
    return {
        "generation": generation.number,
        "since": generation.since,
        "files": [_encode_file(file, root) for file in change.files],
        "dropped": sorted(_relative(path, root) for path in change.dropped),
        "layouts": {
            key: _writer.encode_schema(layout.schema) for key, layout in change.layouts.items()
        },
        "sources": {key: _encode_source(source) for key, source in change.sources.items()},
        "forgotten": sorted(change.forgotten),
    }


def _decode(document: dict[str, Any], root: Path) -> _Generation:
    change = Change(
        files=tuple(_decode_file(file, root) for file in document["files"]),
        dropped=frozenset(_absolute(path, root) for path in document["dropped"]),
        layouts={
            key: Layout(key, _writer.decode_schema(text))
            for key, text in document["layouts"].items()
        },
        sources={key: _decode_source(key, item) for key, item in document["sources"].items()},
        forgotten=frozenset(document["forgotten"]),
    )
    return _Generation(document["generation"], document["since"], change)


def _encode_source(source: Source) -> dict[str, Any]:
    document = asdict(source)
    del document["key"]
    return document


def _decode_source(key: str, document: dict[str, Any]) -> Source:
    problems = tuple((line, reason) for line, reason in document.pop("problems"))
    segments = tuple(document.pop("segments"))
    return Source(key, **document, segments=segments, problems=problems)


def _encode_file(file: DataFile, root: Path) -> dict[str, Any]:
    return {
        "path": _relative(file.path, root),
        "schema": file.schema_name,
        "layout": file.fingerprint,
        "rows": file.rows,
        "size": file.size,
        "time": [file.first, file.last],
        "import": [file.import_first, file.import_last],
        "generation": file.generation,
        "source": file.source,
        "ranges": {name: _encode_range(range_) for name, range_ in file.ranges.items()},
    }


def _decode_file(document: dict[str, Any], root: Path) -> DataFile:
    rows = document["rows"]
    return DataFile(
        path=_absolute(document["path"], root),
        schema_name=document["schema"],
        fingerprint=document["layout"],
        rows=rows,
        size=document["size"],
        first=document["time"][0],
        last=document["time"][1],
        import_first=document["import"][0],
        import_last=document["import"][1],
        ranges={name: _decode_range(item, rows) for name, item in document["ranges"].items()},
        generation=document["generation"],
        source=document["source"],
    )


def _encode_range(range_: Range) -> Any:
    # Many columns have no value at all; nothing is to be said of them but that.
    if range_.null_count == range_.num_rows:
        return 0
    return [_encode_bound(range_.minimum), _encode_bound(range_.maximum), range_.null_count]


def _decode_range(document: Any, rows: int) -> Range:
    if document == 0:
        return Range(None, None, rows, rows)
    minimum, maximum, nulls = document
    return Range(_decode_bound(minimum), _decode_bound(maximum), nulls, rows)


def _encode_bound(bound: Any) -> Any:
    return {"hex": bound.hex()} if isinstance(bound, bytes) else bound


def _decode_bound(bound: Any) -> Any:
    return bytes.fromhex(bound["hex"]) if isinstance(bound, dict) else bound


def _relative(path: str, root: Path) -> str:
    return Path(path).relative_to(root).as_posix()


def _absolute(path: str, root: Path) -> str:
    return str(root / path)
