"""Writes databases as vastlab 1.0 did, for tests that they are still read and upgraded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from vastlab.readers import columns
from vastlab.store import generation
from vastlab.store.database import Database

SPAN = 32


def commit(root, batch, *, drop=()):
    """Add a batch of events as a generation of version 1."""
    numbers = [int(path.stem) for path in (root / "generations").glob("*.json")]
    number = max(numbers, default=0) + 1
    files, layouts = _files(root, batch, number)
    document = {
        "generation": number,
        "since": number - 1,
        "files": files,
        "dropped": [Path(path).relative_to(root).as_posix() for path in drop],
        "layouts": {} if number > 1 else layouts,
        "sources": {
            f"/logs/{number}.log": {
                "size": number,
                "digest": f"{number:064x}",
                "stamp": "",
                "segments": [],
                "format": "zeek",
                "lines": 1,
                "appendable": False,
                "problems": [],
                "problem_count": 0,
            }
        },
        "forgotten": [],
    }
    if number % SPAN == 0:
        document = _cover(root, document)
    _path(root, number).write_text(json.dumps(document, separators=(",", ":")))
    (root / "manifest.json").write_text('{"format": "vastlab", "version": 1}')


def create(root):
    """Make an empty database of version 1."""
    for name in ("generations", "data", "staging"):
        (root / name).mkdir(parents=True)
    (root / "manifest.json").write_text('{"format": "vastlab", "version": 1}')


def sweep(root):
    """Delete the generations that a round number covers, as version 1 did after an hour."""
    newest = max(int(path.stem) for path in (root / "generations").glob("*.json"))
    for number in range(1, newest - newest % SPAN):
        if number % SPAN:
            _path(root, number).unlink(missing_ok=True)


def _path(root, number):
    return root / "generations" / f"{number:09d}.json"


def _files(root, batch, number):
    """Write the files of a batch with the writer of today, which writes the same Parquet."""
    beside = root.with_name(f"{root.name}.beside")
    try:
        database = Database.create(beside)
        database.add([batch])
        snapshot = database.snapshot()
        documents = [generation._encode_file(file, database.place) for file in snapshot.files]
        for document in documents:
            document |= {"generation": number}
            document.pop("footer", None)
            document.pop("digests", None)
            target = root / document["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(beside / document["path"], target)
        layouts = {
            key: columns.encode_schema(layout.schema) for key, layout in snapshot.layouts.items()
        }
        return documents, layouts
    finally:
        shutil.rmtree(beside)


def _cover(root, newest):
    """Join a generation with those that it covers."""
    while newest["since"] > newest["generation"] - SPAN:
        older = json.loads(_path(root, newest["since"]).read_text())
        came = {file["path"] for file in older["files"]}
        dropped = set(newest["dropped"])
        newest = {
            "generation": newest["generation"],
            "since": older["since"],
            "files": [f for f in older["files"] if f["path"] not in dropped] + newest["files"],
            "dropped": sorted(set(older["dropped"]) | (dropped - came)),
            "layouts": older["layouts"] | newest["layouts"],
            "sources": older["sources"] | newest["sources"],
            "forgotten": [],
        }
    return newest
