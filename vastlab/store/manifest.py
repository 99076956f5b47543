"""The manifest: numbered, immutable files ("generations") that record each change of a database.

Generation N lists the files that were added and dropped since an earlier generation. If 32 divides
N, it covers the last 32 generations; if 1024 divides N, the last 1024; and so on. A reader follows
this chain from the newest generation back to the one that it knows, or to the beginning. It reads
a few dozen files at most, and a commit writes little more than its own change. The content of a
generation is described in `vastlab.store.generation`. In a database of many files, a reader stops
at the first generation with a checkpoint (see `vastlab.store.checkpoint`), which saves time and is
needed for nothing.

The protocol needs one atomic operation, ``publish``: create a name if it does not exist.

Each writer has its own staging folder S. Its steps are, in this order:

1. Write the data files to S, sync them, publish each in ``data/``, and sync the folders.
2. Read the newest generation N. Write generation N + 1 to S, sync it and publish it. If the number
   is taken, wait a random time and repeat step 2, up to a limit.
3. Sync ``generations/``. If the block of N + 1 is closed, and its closing file has another digest
   for N + 1, go back to step 2. Otherwise the commit is complete.
4. Replace ``manifest.json``, which names a generation that exists. If one is due, write the
   checkpoint of N + 1 to S, sync it and publish it. Remove S.

A sweeper removes, in this order:

1. The staging folders of writers that have ended. Each is renamed first; after that, nothing can
   be published from it.
2. Generations, in complete blocks of 1024 numbers, if the last of the block is not the newest.
   The sweeper first publishes a closing file with the digests of the block. Then it deletes the
   generations that the chain of the newest generation does not use.
3. All checkpoints but the newest two.
4. Files in ``data/`` that have no hard link in a staging folder and that the newest generation
   does not name. The generation is read after the links were counted.

This guarantees:

- Only one writer gets a number. A number becomes free again only after its block was closed, and a
  writer that takes it then finds the closed block in step 3. This holds however long a writer is
  suspended, and no commit is ever undone.
- Outside of closed blocks, no number below the newest is missing. So if the next number does not
  exist and its block is not closed, a reader has the newest generation. Each generation contains
  the digest of the one that it continues, so a missing or replaced generation is detected.
- A committed file exists. It is deleted only after S was renamed. At that time, either its
  generation was already published and names the file, or it can never be published.
- A crash between two steps leaves the state before or after the commit, and some unused files.
- A checkpoint is of a generation that was published, is never changed, and counts only if it has
  the digest that the chain has for its generation. The chain is complete without it.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vastlab.errors import CorruptFileError, LockedError, NodeError
from vastlab.store import checkpoint
from vastlab.store.files import Files
from vastlab.store.generation import (
    GENERATIONS,
    REPAIR,
    Change,
    Document,
    Generation,
    Link,
    Marker,
    NewerVersionError,
    decode_generation,
    digest_of,
    document_of,
    encode_document,
    merge_documents,
    read_document,
    read_marker,
    replace_marker,
    seal,
    unseal,
)
from vastlab.store.layout import DataFile
from vastlab.store.place import Folder, Place
from vastlab.store.snapshot import Snapshot, make_snapshot

_T = TypeVar("_T")

SPAN = 32
BLOCK = SPAN * SPAN
_ATTEMPTS = 50
_MAX_PAUSE = 0.5
_DIGITS = 16  # of a digest in a closing file
_CLOSED = "closed-"
_NAME = re.compile(r"(\d{9,})\.json")
_CLOSING_NAME = re.compile(rf"{_CLOSED}\d{{9}}")


class MovedError(Exception):
    """A generation is missing or replaced: there are newer ones, or the manifest is damaged."""


# --- reading --------------------------------------------------------------------------------


def load(place: Place, known: Snapshot | None = None) -> Snapshot:
    """Read the newest generation, starting from an earlier snapshot if there is one."""
    seen = -1
    while True:
        marker = read_marker(place)
        if known is not None and _is_stale(known, marker):
            known = None
        newest = _newest(place, marker, known)
        if known is not None and known.generation == newest:
            return known
        try:
            if place.has(_closing_key(newest)):
                # A suspended writer published it late, or the listing is outdated.
                raise MovedError(
                    f"the newest generations are missing from {place.url(GENERATIONS)!r}"
                )
            if known is not None:
                with contextlib.suppress(MovedError):
                    return _load(place, newest, marker, known)
            # A generation covers more than what is new, or the known one was replaced.
            return _load(place, newest, marker, None, checkpoint.numbers(place))
        except MovedError as error:
            if newest <= seen:
                _require_known_checkpoints(place)
                raise CorruptFileError(str(error), hint=REPAIR) from error
            seen = newest
        except CorruptFileError:
            _require_known_checkpoints(place)
            raise


def added(place: Place, since: int, snapshot: Snapshot) -> list[DataFile]:
    """Return the files that were added after generation `since`, sorted by generation.

    If a file was merged from earlier and later ones, the later ones are returned instead. They are
    no longer part of the database, but exist for a grace period.
    """
    files: Iterable[DataFile] = snapshot.files.since(since)
    if any(0 < file.oldest <= since for file in files):
        try:
            newer = [read(place, number)[0] for number in range(since + 1, snapshot.generation + 1)]
        except MovedError as error:
            msg = f"{error}: cannot determine what was added since generation {since}"
            raise CorruptFileError(msg, hint="run the query again") from error
        files = [
            file
            for each in newer
            for file in each.change.files
            if file.generation == each.number and file.fingerprint in snapshot.layouts
        ]
    return sorted(files, key=lambda file: (file.generation, file.schema_name, file.first))


def _is_stale(known: Snapshot, marker: Marker) -> bool:
    """Return whether the folder contains another database now."""
    return known.database != marker.database or (
        known.generation == marker.generation and known.digest != marker.digest
    )


def load_generation(place: Place, number: int) -> Snapshot:
    """Read the content at one generation without using checkpoints."""
    return _load(place, number, read_marker(place))


def _load(
    place: Place,
    newest: int,
    marker: Marker,
    known: Snapshot | None = None,
    checkpoints: Collection[int] = (),
) -> Snapshot:
    base = known or Snapshot(0, {}, Files.of((), str(place)), database=marker.database)
    link, digest = Link(newest, ""), ""
    chain: list[Generation] = []
    while link.number > base.generation:
        if link.number in checkpoints and (held := _from_checkpoint(place, link, marker)):
            base, link = held, Link(held.generation, held.digest)
            digest = digest or held.digest
            break
        generation, found = read(place, link.number)
        if chain and found != link.digest:
            raise MovedError(_wrong_generation(place, link.number))
        if link.number == marker.generation and found != marker.digest:
            raise MovedError(_wrong_generation(place, link.number))
        digest = digest or found
        chain.append(generation)
        link = generation.since
    if link != Link(base.generation, base.digest):
        raise MovedError(_wrong_generation(place, link.number))
    snapshot = _apply(base, reversed(chain), digest)
    if len(snapshot.files.table) or len(snapshot.files.added) < checkpoint.LEAST:
        return snapshot
    return replace(snapshot, files=snapshot.files.tabled(snapshot.layouts))


def _from_checkpoint(place: Place, link: Link, marker: Marker) -> Snapshot | None:
    """Read the checkpoint of a generation; None if it cannot be used."""
    try:
        held = checkpoint.read(place, link.number)
        digest = link.digest or digest_of(place.read(key_of(link.number)))
    except Exception:  # noqa: BLE001 - a damaged file can cause any error; the generations count
        return None
    if held.digest != digest or (link.number == marker.generation and held.digest != marker.digest):
        return None
    return replace(held, database=marker.database)


def _require_known_checkpoints(place: Place) -> None:
    """Raise NewerVersionError if a newer version could read what this one cannot."""
    for number in checkpoint.numbers(place):
        try:
            checkpoint.read(place, number)
        except NewerVersionError:
            raise
        except Exception:  # noqa: BLE001, S112 - the generations are damaged, too: that is said
            continue


def _apply(base: Snapshot, generations: Iterable[Generation], digest: str) -> Snapshot:
    layouts, sources = dict(base.layouts), base.sources
    files: dict[str, DataFile] = {}
    dropped: set[str] = set()
    number = base.generation
    for generation in generations:
        change, number = generation.change, generation.number
        layouts |= change.layouts
        for path in change.dropped:
            files.pop(path, None)
        dropped |= change.dropped
        files |= {file.path: file for file in change.files}
        if change.sources or change.forgotten:
            kept = {key: item for key, item in sources.items() if key not in change.forgotten}
            sources = {**kept, **change.sources}
    made = make_snapshot(number, layouts, base.files.changed(files.values(), dropped), sources)
    return replace(made, digest=digest, database=base.database, checkpoint=base.checkpoint)


def _newest(place: Place, marker: Marker, known: Snapshot | None) -> int:
    if known is not None and known.generation >= marker.generation:
        following = known.generation + 1
        # Check in this order: a generation is deleted only after its block was closed.
        if not (place.has(key_of(following)) or place.has(_closing_key(following))):
            return known.generation
    try:
        newest = max(numbers(place), default=0)
    except FileNotFoundError:
        msg = f"the database {str(place)!r} has no folder {GENERATIONS!r}"
        raise CorruptFileError(msg, hint=REPAIR) from None
    if newest < marker.generation:
        path = place.url(key_of(marker.generation))
        raise CorruptFileError(f"a generation is missing: {path!r}", hint=REPAIR)
    return newest


def key_of(number: int) -> str:
    """Return the key of a generation."""
    return f"{GENERATIONS}/{number:09d}.json"


def file_of(root: Path, number: int) -> Path:
    """Return the file of a generation in a folder."""
    return root / key_of(number)


def _closing_key(number: int) -> str:
    """Return the key of the file that closes the block of a number."""
    return f"{GENERATIONS}/{_CLOSED}{(number - 1) // BLOCK:09d}"


def read(place: Place, number: int) -> tuple[Generation, str]:
    """Read one generation, and its digest."""
    return _read(place, number, decode_generation)


def _read(place: Place, number: int, decode: Callable[[bytes, int, Place], _T]) -> _T:
    key = key_of(number)
    try:
        return decode(place.read(key), number, place)
    except FileNotFoundError as error:
        raise MovedError(f"a generation is missing: {place.url(key)!r}") from error
    except (NewerVersionError, NodeError):
        raise
    except Exception as error:
        # A damaged file can cause any error.
        msg = f"cannot read a generation of the manifest: {place.url(key)!r}: {error}"
        raise CorruptFileError(msg, hint=REPAIR) from error


def _wrong_generation(place: Place, number: int) -> str:
    return f"a generation was replaced: {place.url(key_of(number))!r}"


# --- writing --------------------------------------------------------------------------------


def commit(
    place: Place,
    staging: Path,
    decide: Callable[[Snapshot], Change],
    known: Snapshot | None = None,
) -> Snapshot:
    """Publish a new generation, and return the snapshot with the change.

    `decide` is called again each time that another writer was faster; if it raises, nothing is
    committed.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            _pause(attempt)
        known = load(place, known)
        number = known.generation + 1
        change = _number_files(decide(known), number, known)
        new = Generation(number, Link(known.generation, known.digest), change)
        try:
            merged = _merge_covered(place, new)
            digest = _publish(place, staging, merged)
        except MovedError:
            known = None
            continue
        if digest:
            with contextlib.suppress(OSError, NodeError):
                replace_marker(place, staging, Marker(known.database, number, digest))
            made = _apply(known, [new], digest)
            if checkpoint.is_due(made, merged["since"][0]):
                with contextlib.suppress(Exception):  # the commit is complete without it
                    made = checkpoint.publish(place, staging, made)
            return made
    msg = f"other processes keep writing to {str(place)!r}; nothing was added"
    raise LockedError(msg, hint="try again later")


def _pause(attempt: int) -> None:
    longest = min(_MAX_PAUSE, 0.002 * 2**attempt)
    time.sleep(random.uniform(0, longest))  # noqa: S311 - only to separate the writers


def _number_files(change: Change, number: int, known: Snapshot) -> Change:
    """Set the generation of new files that have none, and leave out known layouts."""
    files = tuple(replace(file, generation=file.generation or number) for file in change.files)
    layouts = {key: value for key, value in change.layouts.items() if key not in known.layouts}
    return replace(change, files=files, layouts=layouts)


def _merge_covered(place: Place, generation: Generation) -> Document:
    """Merge the generations that this one covers; the first of version 2 covers all before."""
    number, span = generation.number, 1
    while number % (span * SPAN) == 0:
        span *= SPAN
    floor = number - span if generation.since.digest else 0
    document = document_of(generation, place)
    while document["since"][0] > floor:
        older, expected = document["since"]
        found, digest = _read(place, older, read_document)
        if digest != expected:
            raise MovedError(_wrong_generation(place, older))
        document = merge_documents(document, found)
    return document


def _publish(place: Place, staging: Path, document: Document) -> str:
    """Publish a generation and return its digest; ``""`` if its number is taken."""
    number = document["generation"]
    data, digest = encode_document(document)
    if not place.create(key_of(number), data, staging):
        return ""
    return digest if _recorded_digest(place, number) in (None, digest[:_DIGITS]) else ""


def closing_keys(place: Place) -> list[str]:
    """List the keys of the closing files."""
    names = sorted(filter(_CLOSING_NAME.fullmatch, place.names(GENERATIONS)))
    return [f"{GENERATIONS}/{name}" for name in names]


def last_of_block(key: str) -> int:
    """Return the last number of the block that a closing file closes."""
    return (int(key.rpartition(_CLOSED)[2]) + 1) * BLOCK


def read_closing_file(place: Place, key: str) -> list[str]:
    """Return the shortened digests of a block."""
    return [str(digest) for digest in unseal(place.read(key))[0]["digests"]]


def _recorded_digest(place: Place, number: int) -> str | None:
    """Return the shortened digest in the closing file; None if the block is not closed."""
    key = _closing_key(number)
    try:
        return read_closing_file(place, key)[(number - 1) % BLOCK]
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        msg = f"cannot determine whether the events were added: {place.url(key)!r} is damaged"
        raise CorruptFileError(msg, hint=REPAIR) from error


# --- sweeping -------------------------------------------------------------------------------


def sweep(root: Path, staging: Path, grace: float) -> None:
    """Delete covered generations, in blocks that have been complete for `grace` seconds."""
    folder = Folder(root)
    newest = load(folder).generation
    checkpoint.remove_old(folder)
    deadline = time.time() - grace
    for leftover in (root / GENERATIONS).glob("*.tmp"):  # of vastlab 1.0
        if _modified(leftover) < deadline:
            leftover.unlink(missing_ok=True)
    complete = [number for number in numbers(folder) if _end(number) < newest]
    blocks = {_end(number) for number in complete if number % BLOCK}
    old = {end for end in blocks if _modified(file_of(root, end)) < deadline}
    if not old:
        return
    try:
        needed = _chain(folder, newest)
    except MovedError:
        return  # another process sweeps at the same time
    for end in sorted(old):
        close(folder, staging, end)
    for number in complete:
        path = file_of(root, number)
        if _end(number) in old and number not in needed and _modified(path) < deadline:
            path.unlink(missing_ok=True)


def numbers(place: Place) -> list[int]:
    """List the numbers of all generation files."""
    matches = (_NAME.fullmatch(name) for name in place.names(GENERATIONS))
    return [int(match[1]) for match in matches if match]


def _end(number: int) -> int:
    """Return the last number of a block."""
    return -(-number // BLOCK) * BLOCK


def _chain(place: Place, number: int) -> set[int]:
    """Return the numbers that a reader of a generation needs."""
    chain = set()
    while number > 0:
        chain.add(number)
        number = read(place, number)[0].since.number
    return chain


def close(place: Place, staging: Path, end: int) -> None:
    """Publish the closing file of the block that ends with a number."""
    key = _closing_key(end)
    if place.has(key):
        return
    numbers = range(end - BLOCK + 1, end + 1)
    place.create(key, seal({"digests": [_digest(place, n) for n in numbers]})[0], staging)


def _digest(place: Place, number: int) -> str:
    """Return the shortened digest of a generation; ``""`` for one of version 1."""
    try:
        return unseal(place.read(key_of(number)))[1][:_DIGITS]
    except (FileNotFoundError, ValueError):
        return ""


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
