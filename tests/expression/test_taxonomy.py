"""Concepts and models, and the files that define them."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.errors import ConfigError
from vastlab.expression.taxonomy import Concept, Model, Taxonomy, load

PLAIN = """
- concept:
    name: net.host
    description: A host
    fields:
    - zeek.conn.host
    - suricata.flow.host
    concepts:
    - net.src.host
- model:
    name: pair
    definition:
    - net.host
    - net.port
"""


def test_taxonomy_can_be_pickled():
    """Pickle keeps concepts and models, also of a merged taxonomy, which is read-only."""
    merged = Taxonomy.default().merge(Taxonomy({"mine": Concept("mine", fields=("a.b",))}))
    for taxonomy in (merged, Taxonomy()):
        assert pickle.loads(pickle.dumps(taxonomy)) == taxonomy  # noqa: S301 - our own bytes


def test_default():
    """The taxonomy that is shipped has all concepts, their fields and the model."""
    taxonomy = Taxonomy.default()
    assert len(taxonomy.concepts) == 47
    assert "zeek.x509.id.orig_h" in taxonomy.fields("net.src.ip")
    assert "suricata.ftp_data.dest_port" in taxonomy.fields("net.dst.port")
    assert taxonomy.fields("file.owner") == ()
    assert set(taxonomy.models) == {"net.connection"}
    assert taxonomy.leaves("net.connection")[-1] == "net.proto"
    for concept in taxonomy.concepts.values():
        assert concept.description
        assert not any(set("{} ,") & set(field) for field in concept.fields)


def test_plain_form(tmp_path):
    """A file in VAST's own form is read as it is."""
    (tmp_path / "own.yaml").write_text(PLAIN)
    taxonomy = load(tmp_path)
    fields = ("zeek.conn.host", "suricata.flow.host")
    assert taxonomy.concepts["net.host"] == Concept("net.host", "A host", fields, ("net.src.host",))
    assert taxonomy.models["pair"] == Model("pair", "", ("net.host", "net.port"))


def test_braces(tmp_path):
    """Braces are expanded to one field per alternative, in every combination."""
    (tmp_path / "own.yml").write_text('- concept: {name: x, fields: ["{a, b}.c.{d,e}"]}')
    assert load(tmp_path).fields("x") == ("a.c.d", "a.c.e", "b.c.d", "b.c.e")


def test_merged_over_files(tmp_path):
    """Fields of one concept in several files add up; the first description is kept."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text("- concept: {name: x, description: one, fields: [a, b]}")
    (tmp_path / "deep" / "b.yaml").write_text(
        "- concept: {name: x, description: two, fields: [b, c], concepts: [y]}"
    )
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("{")
    concept = load(tmp_path).concepts["x"]
    assert concept == Concept("x", "one", ("a", "b", "c"), ("y",))


def test_user_adds_to_default(tmp_path):
    """A user's file adds fields to a concept that is shipped."""
    file = tmp_path / "own.yaml"
    file.write_text("- concept: {name: net.duration, fields: [my.flow.took]}")
    merged = Taxonomy.default().merge(load(file))
    assert merged.fields("net.duration") == ("zeek.conn.duration", "my.flow.took")
    assert Taxonomy.default().fields("net.duration") == ("zeek.conn.duration",)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "cannot read the taxonomy"),
        ("a: b", "expected `list`, got `mapping` (a list of concepts and models"),
        ("- thing: {name: x}", "item 1: unknown key 'thing' (there are concept, model)"),
        ("- concept: {name: x}\n  model: {name: x}", "item 1 must be either a concept or a model"),
        ("- concept: {fields: [a]}", "item 1: concept: missing key `name`"),
        (
            "- concept: {name: x, fields: a}",
            "concept.fields: expected `list | null`, got `str`",
        ),
        (
            "- concept: {name: x}\n- model: {name: m, definition: [1]}",
            "item 2: model.definition[0]: expected `str`",
        ),
        (
            "- concept: {name: x, field: [a]}",
            "'concept.field' (did you mean 'fields'?)",
        ),
        ("- model: {name: x, fields: [a]}", "item 1: unknown key 'model.fields'"),
        ("- !!python/object:os.system {}", "cannot read the taxonomy"),
        ("- 2001-13-45", "cannot read the taxonomy"),
        ("- {}", "item 1 must be either a concept or a model"),
        ("- concept: {name: ''}", "item 1: concept.name: expected `str` of length >= 1"),
        ("- concept: {name: x, fields: [a], fields: [b]}", "the key 'fields' occurs twice"),
    ],
)
def test_bad_file(tmp_path, text, reason):
    """A file that defines something else is an error that names it and the place."""
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_file(tmp_path):
    """A missing or binary file is an error that names it."""
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml"):
        with pytest.raises(ConfigError, match=name):
            load(tmp_path / name)


def test_model_twice(tmp_path):
    """A model that is defined twice is an error that names both files."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("- model: {name: m, definition: [x]}")
    with pytest.raises(
        ConfigError, match=r"b\.yaml: the model 'm' is already defined in .*a\.yaml"
    ):
        load(tmp_path)
    made = Taxonomy(models={"m": Model("m")})
    with pytest.raises(ConfigError, match="taxonomy: the model 'm' is already defined"):
        made.merge(made)


def test_nested_models_and_concepts():
    """Models expand left to right, concepts reach any depth and may form a ring."""
    concepts = {
        "a": Concept("a", fields=("1",), concepts=("b", "gone")),
        "b": Concept("b", fields=("2", "1"), concepts=("a", "c")),
        "c": Concept("c", fields=("3",)),
    }
    models = {"m": Model("m", definition=("a", "n", "c")), "n": Model("n", definition=("b", "x"))}
    taxonomy = Taxonomy(concepts, models)
    assert taxonomy.fields("a") == ("1", "2", "3")
    assert taxonomy.leaves("m") == ("a", "b", "x", "c")


def test_model_in_itself():
    """A model that contains itself is an error and no endless loop."""
    models = {"m": Model("m", definition=("n",)), "n": Model("n", definition=("m",))}
    with pytest.raises(ConfigError, match="contains itself"):
        Taxonomy(models=models).leaves("m")


@given(
    st.lists(
        st.builds(
            Concept, st.sampled_from("ab"), fields=st.lists(st.sampled_from("xyz")).map(tuple)
        )
    )
)
def test_merge_is_a_union(parts):
    """Merging keeps every field once, in the order of its first appearance."""
    merged = Taxonomy()
    for part in parts:
        merged = merged.merge(Taxonomy({part.name: part}))
    for name in {part.name for part in parts}:
        fields = [field for part in parts if part.name == name for field in part.fields]
        assert merged.fields(name) == tuple(dict.fromkeys(fields))
