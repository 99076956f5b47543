from __future__ import annotations

import io
import ipaddress
import json
from itertools import pairwise
from pathlib import Path

import pytest

from vastlab import readers
from vastlab.errors import ConfigError
from vastlab.types import Kind

GOOD = """
module: acme
types:
  port: uint64
  action: {enum: [allow, block]}
  uid: {type: string, attributes: {index: hash}}
events:
  proxy:
    ts: time
    id: uid
    client: {ip: ip, port: port}
    action: action
    tags: [string]
"""


def load(folder: Path, text: str | bytes) -> readers.Schemas:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "x.yaml").write_bytes(data)
    return readers.load_schemas([folder])


def test_a_file_declares_schemas(tmp_path):
    """Shared types, records, lists, labels and attributes are what they say."""
    schema = load(tmp_path, GOOD).find("acme.proxy")
    assert [f"{leaf.name}: {leaf.type}" for leaf in schema.leaves] == [
        "ts: time", "id: string", "client.ip: ip", "client.port: port", "action: enum",
        "tags: list<string>",
    ]  # fmt: skip
    assert schema.leaves[4].type.kind is Kind.ENUM


def test_names_may_be_written_in_full(tmp_path):
    """Without a module, the events have their full names; they go before what is shipped."""
    schemas = load(tmp_path, "events: {zeek.conn: {ts: string}}")
    assert [str(leaf.type) for leaf in schemas.find("zeek.conn").leaves] == ["string"]
    assert schemas.find("zeek.dns") is not None
    assert schemas.find("my.log") is None


@pytest.mark.parametrize("event", [
    {"id": {"orig_h": "192.0.2.1"}}, {"id.orig_h": "192.0.2.1"}, {"id_orig_h": "192.0.2.1"},
])  # fmt: skip
def test_dotted_names_declare_members_of_records(event, tmp_path):
    """A field that is declared with dots is the same as one that is declared nested."""
    schemas = load(tmp_path, 'events: {my.flow: {"id.orig_h": ip, "id.tag": string, n: uint64}}')
    data = io.BytesIO(json.dumps(event).encode())
    (batch,) = readers.read(data, schema="my.flow", schemas=schemas)
    assert batch.to_pylist() == [
        {"id": {"orig_h": ipaddress.ip_address("192.0.2.1"), "tag": None}, "n": None}
    ]


def test_no_folder_declares_nothing(tmp_path):
    """Folders that do not exist, and other files, are passed over."""
    (tmp_path / "notes.txt").write_text("x")
    assert readers.load_schemas([tmp_path / "none", tmp_path]).own == ()


BAD = {
    "no mapping": ("[1]", "x.yaml: expected `mapping`, got `list`"),
    "empty": ("", "x.yaml: expected `mapping`, got `null`"),
    "no events": ("module: a", "missing key `events`"),
    "events": ("events: [1]", "events: expected `mapping`, got `list`"),
    "fields": ("events: {a.b: {c: {}}, d.e: ip}", "events.d.e: expected `mapping`, got `str`"),
    "key twice": ("events: {a.b: {c: ip, d: ip, c: port}}", "the key 'c' occurs twice"),
    "schema twice": ("events:\n  a.b: {c: ip}\n  a.b: {d: ip}", "'a.b' occurs twice"),
    "unknown key": ("event: {}", "unknown key 'event'"),
    "unknown type": ("events: {a.b: {c: {d: adress}}}", "events.a.b.c.d: unknown type 'adress'"),
    "not a type": ("events: {a.b: {c: 5}}", "5 is not a type"),
    "no YAML": ("events: {", "cannot read the schemas"),
    "NUL": ("events: {a.b: {c: ip\0}}", "cannot read the schemas"),
    "no UTF-8": (b"events: {a.b: {\xff: ip}}", "cannot read the schemas"),
    "control": ('events: {a.b: {"c\\u0000": ip}}', "cannot be a name"),
    "name of an event": ("events: {a b: {c: ip}}", "must be letters"),
    "number as name": ("events: {a.b: {5: ip}}", "events.a.b: each key must be text"),
    "deep": ("events: {a.b: {c: " + "[" * 30 + "ip" + "]" * 30 + "}}", "nested more than 20 deep"),
    "very deep": ("[" * 100_000, "maximum nesting depth"),
    "large": ("#" * (5 << 20), "larger than"),
    "number": ("events: {a.b: {c: " + "9" * 10_000 + "}}", "x.yaml"),
    "many": (
        "events: {a.b: {" + ",".join(f"f{i}: ip" for i in range(20_001)) + "}}",
        "more than 20,000",
    ),
    "laughs": (
        "a: &a [ip]\n"
        + "".join(f"{c}: &{c} {{x: *{p}, y: *{p}}}\n" for p, c in pairwise("abcdefghi"))
        + "events: {x.y: {z: *i}}\n",
        "unknown key 'a'",
    ),
    "labels": ("types: {a: {enum: [1]}}\nevents: {}", "types.a.enum[0]: expected `str`, got `int`"),
    "many labels": ("types: {a: {enum: [" + "x, " * 257 + "]}}\nevents: {}", "length <= 256"),
    "attributes": (
        "types: {a: {type: ip, attributes: {x: 1}}}\nevents: {}",
        "types.a.attributes[...]: expected `str`",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_wrong_is_one_clear_error(kind, tmp_path):
    """The error names the file, the place in it, and what is wrong."""
    text, reason = BAD[kind]
    with pytest.raises(ConfigError, match=r"x\.yaml") as caught:
        load(tmp_path, text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_slip_in_a_type_is_noticed(tmp_path):
    """The types that there are, and those of the file, are offered."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "events: {a.b: {c: subnett}}")
    assert caught.value.hint == "did you mean 'subnet'?"
