"""Reading and writing the files of the manifest: generations and ``manifest.json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from vastlab.errors import CorruptFileError, DatabaseError
from vastlab.readers import columns
from vastlab.store.layout import DataFile, Layout, Range, Source
from vastlab.store.place import STAGING, Folder, Place

_SEAL = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_SEAL_SIZE = 77  # characters of it


def seal(document: dict[str, Any]) -> tuple[bytes, str]:
    """Return a document as JSON that starts with the SHA-256 of the rest, and that checksum."""
    return _seal(_json(document)[1:])


def _seal(body: bytes) -> tuple[bytes, str]:
    digest = hashlib.sha256(body).hexdigest()
    return b'{"sha256":"%s",%s' % (digest.encode(), body), digest


def unseal(data: bytes) -> tuple[dict[str, Any], str]:
    """Return a document and its checksum, or ``""`` if it has none; raises ValueError."""
    digest = _checked(data)
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    if not digest and "sha256" in document:
        raise ValueError("its checksum is damaged")
    return document, digest


def _checked(data: bytes) -> str:
    """Return the checksum of a document, or ``""`` if it has none; raises ValueError."""
    digest = digest_of(data)
    if digest and hashlib.sha256(memoryview(data)[_SEAL_SIZE:]).hexdigest() != digest:
        raise ValueError("its checksum does not match its content")
    return digest


def digest_of(data: bytes) -> str:
    """Return the checksum at the beginning of a sealed file, or ``""``, without comparing it."""
    found = _SEAL.match(data)
    return found[1].decode() if found else ""


FORMAT = "vastlab"
VERSION = 2


class NewerVersionError(DatabaseError):
    """The database was written by a newer version of vastlab."""

    def __init__(self, where: str, version: object) -> None:
        super().__init__(
            f"{where} has format version {version!r}", hint="upgrade vastlab to read it"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What a generation changes."""

    files: tuple[DataFile, ...] = ()
    dropped: frozenset[str] = frozenset()  # absolute paths
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # at least those of the new files
    sources: Mapping[str, Source] = field(default_factory=dict)
    forgotten: frozenset[str] = frozenset()  # keys of removed sources


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to a generation."""

    number: int
    digest: str


EMPTY = Link(0, "")


@dataclass(frozen=True, slots=True)
class Generation:
    """A numbered change, and the generation that it continues."""

    number: int
    since: Link
    change: Change


# --- JSON -----------------------------------------------------------------------------------


Document = dict[str, Any]
"""A generation as JSON; its files are JSON texts of their own, as there may be many."""


class _Named(msgspec.Struct):
    path: str


def document_of(generation: Generation, place: Place) -> Document:
    """Return a generation as JSON."""
    change = generation.change
    return {
        "format": FORMAT,
        "version": VERSION,
        "generation": generation.number,
        "since": [generation.since.number, generation.since.digest],
        "dropped": sorted(place.key(path) for path in change.dropped),
        "layouts": {
            key: columns.encode_schema(layout.schema) for key, layout in change.layouts.items()
        },
        "sources": {key: encode_source(source) for key, source in change.sources.items()},
        "forgotten": sorted(change.forgotten),
        "files": [_json(_encode_file(file, place)) for file in change.files],
    }


def encode_document(document: Document) -> tuple[bytes, str]:
    """Return the bytes of a generation, and their digest."""
    rest = _json({name: item for name, item in document.items() if name != "files"})
    return _seal(b'%s,"files":[%s]}' % (rest[1:-1], b",".join(document["files"])))


def read_document(data: bytes, number: int, place: Place) -> tuple[Document, str]:
    """Read a generation as JSON, and its digest; `number` is taken from the name of the file."""
    digest = _checked(data)
    document = _split(data)
    version = document.get("version", 1)
    if digest and version > VERSION:
        raise NewerVersionError(f"the database {str(place)!r}", version)
    if version != (VERSION if digest else 1) or (not digest and "sha256" in document):
        raise ValueError("its checksum or its version is damaged")
    document["since"] = [*document["since"]] if digest else [document["since"], ""]
    since = document["since"][0]
    if document["generation"] != number:
        raise ValueError(f"it contains generation {document['generation']}")
    if not 0 <= since < number:
        raise ValueError(f"it continues generation {since}, which is not an earlier one")
    return document, digest


def merge_documents(new: Document, old: Document) -> Document:
    """Merge a generation with the one that it continues, whose files are not decoded."""
    files, gone, added = old["files"], {*new["dropped"]}, set()
    if gone:
        paths = list(map(_path_in, files))
        files = [file for file, path in zip(files, paths, strict=True) if path not in gone]
        added = {*paths}
    is_first = not old["since"][0]
    forgotten = {*new["forgotten"]}
    sources = {key: item for key, item in old["sources"].items() if key not in forgotten}
    return new | {
        "since": old["since"],
        "dropped": [] if is_first else sorted({*old["dropped"]} | (gone - added)),
        "layouts": {**old["layouts"], **new["layouts"]},
        "sources": {**sources, **new["sources"]},
        "forgotten": [] if is_first else sorted({*old["forgotten"]} | forgotten),
        "files": [*files, *new["files"]],
    }


def decode_generation(data: bytes, number: int, place: Place) -> tuple[Generation, str]:
    """Read a generation and its digest; `number` is taken from the name of the file."""
    document, digest = read_document(data, number, place)
    change = Change(
        files=tuple(_decode_file(_parsed(file), place) for file in document["files"]),
        dropped=frozenset(_absolute(path, place) for path in document["dropped"]),
        layouts={
            key: Layout(key, columns.decode_schema(text))
            for key, text in document["layouts"].items()
        },
        sources={key: decode_source(key, item) for key, item in document["sources"].items()},
        forgotten=frozenset(document["forgotten"]),
    )
    return Generation(number, Link(*document["since"]), change), digest


def _split(data: bytes) -> Document:
    """Parse a generation but for its files."""
    try:
        parts = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        files = msgspec.json.decode(parts.pop("files"), type=list[msgspec.Raw])
    except msgspec.DecodeError:  # of an infinite number, which Python writes
        document: Document = json.loads(data)
        return document | {"files": [_json(file) for file in document["files"]]}
    return {name: json.loads(bytes(part)) for name, part in parts.items()} | {"files": files}


def _parsed(file: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file)  # type: ignore[no-any-return]  # what `_encode_file` made
    except msgspec.DecodeError:
        return json.loads(bytes(file))  # type: ignore[no-any-return]  # what `_encode_file` made


def _path_in(file: bytes) -> str:
    try:
        return msgspec.json.decode(file, type=_Named).path
    except msgspec.DecodeError:
        return str(json.loads(bytes(file))["path"])


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_SOURCE_FIELDS = tuple(each.name for each in fields(Source) if each.name != "key")


def encode_source(source: Source) -> dict[str, Any]:
    """Return a source as JSON, without its key."""
    document = {name: getattr(source, name) for name in _SOURCE_FIELDS}
    if not source.remarks:
        del document["remarks"]
    return document


def decode_source(key: str, document: dict[str, Any]) -> Source:
    """Read a source from JSON, which is used up."""
    problems = tuple((line, reason) for line, reason in document.pop("problems"))
    segments = tuple(document.pop("segments"))
    remarks = tuple(document.pop("remarks", ()))
    return Source(key, **document, segments=segments, problems=problems, remarks=remarks)


def _encode_file(file: DataFile, place: Place) -> dict[str, Any]:
    return {
        "path": place.key(file.path),
        "schema": file.schema_name,
        "layout": file.fingerprint,
        "rows": file.rows,
        "size": file.size,
        "time": [file.first, file.last],
        "import": [file.import_first, file.import_last],
        "generation": file.generation,
        "source": file.source,
        "ranges": {name: _encode_range(range_) for name, range_ in file.ranges.items()},
        "tail": file.tail,
        **({"oldest": file.oldest} if file.oldest else {}),
    }


def _decode_file(document: dict[str, Any], place: Place) -> DataFile:
    rows = document["rows"]
    return DataFile(
        path=_absolute(document["path"], place),
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
        oldest=document.get("oldest", 0),
        tail=tuple(document.get("tail", (0, ""))),
    )


def _encode_range(range_: Range) -> Any:
    # Many columns are empty: write one character for them.
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


def _absolute(key: str, place: Place) -> str:
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"it names a file outside the database: {key!r}")
    return place.url(key)


NAME = "manifest.json"
GENERATIONS, DATA = "generations", "data"
REPAIR = "run `vastlab check --repair`, which keeps all intact events, or restore a backup"
_GENERATION = re.compile(r"\d{9,}\.json")
_DATA_FILE = re.compile(r"\d{8}T\d{6}-[0-9a-f]{32}\.parquet")
_DEPTH = 3  # slashes in the key of a data file


@dataclass(frozen=True, slots=True)
class Marker:
    """The content of ``manifest.json``: an id of the database, and a generation that exists."""

    database: str
    generation: int = 0
    digest: str = ""
    version: int = VERSION


def is_database(path: str | Path | Place) -> bool:
    """Return whether a folder is a vastlab database, even if it is damaged."""
    place = path if isinstance(path, Place) else Folder(Path(path))
    try:
        document = json.loads(place.read(NAME))
        if isinstance(document, dict) and document.get("format") == FORMAT:
            return True
    except (OSError, ValueError, RecursionError):
        pass
    return any(_traces(place))


def _traces(place: Place) -> Iterator[str]:
    """Yield other names that only a database has."""
    with contextlib.suppress(OSError):
        yield from filter(_GENERATION.fullmatch, place.names(GENERATIONS))
        if {NAME, DATA, STAGING} <= set(place.names("")):
            yield GENERATIONS
    with contextlib.suppress(OSError):
        for entry in place.entries(DATA):
            name = entry.key.rpartition("/")[2]
            if entry.key.count("/") == _DEPTH and _DATA_FILE.fullmatch(name):
                yield name


def read_marker(place: Place) -> Marker:
    """Read ``manifest.json``; raises CorruptFileError or DatabaseError."""
    url = place.url(NAME)
    try:
        document, digest = unseal(place.read(NAME))
        version = document.get("version")
        if document.get("format") == FORMAT:
            if isinstance(version, int) and version > VERSION:
                raise NewerVersionError(f"the database {str(place)!r}", version)
            if digest:
                number = int(document["generation"])
                return Marker(str(document["database"]), number, str(document["digest"]))
            if version == 1:
                return Marker(place.stat(NAME).identity, version=1)
            raise ValueError("its checksum is missing")
    except FileNotFoundError:
        if any(_traces(place)):
            msg = f"the database {str(place)!r} is damaged: {NAME} is missing"
            raise CorruptFileError(msg, hint=REPAIR) from None
        msg = f"the folder {str(place)!r} is not a vastlab database: it has no {NAME}"
        hint = "create one with `vastlab import`, or query the folder of logs directly"
        raise DatabaseError(msg, hint=hint) from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        msg = f"cannot read {url!r}: {error}"
        raise CorruptFileError(msg, hint=REPAIR) from error
    if any(_traces(place)):
        raise CorruptFileError(f"{url!r} is damaged: its format is missing", hint=REPAIR)
    msg = f"the folder {str(place)!r} is not a vastlab database: its {NAME} has another format"
    raise DatabaseError(msg)


def create_marker(place: Place, staging: Path) -> None:
    """Turn a place into an empty database, unless it is a database already."""
    place.create(NAME, _encode_marker(Marker(uuid.uuid4().hex)), staging)


def replace_marker(place: Place, staging: Path, marker: Marker) -> None:
    """Replace ``manifest.json``."""
    place.replace(NAME, _encode_marker(marker), staging)


def _encode_marker(marker: Marker) -> bytes:
    document = {
        "format": FORMAT,
        "version": VERSION,
        "database": marker.database,
        "generation": marker.generation,
        "digest": marker.digest,
    }
    return seal(document)[0]
