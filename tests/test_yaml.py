from __future__ import annotations

import msgspec
import pytest
import yaml

from vastlab import _yaml
from vastlab.errors import ConfigError


def test_a_file_is_read(tmp_path):
    """Plain YAML gives plain values."""
    path = tmp_path / "x.yaml"
    path.write_text("a: [1, two]\n")
    assert _yaml.load(path, "the settings") == {"a": [1, "two"]}


@pytest.mark.parametrize(
    "content,reason",
    [
        (b"a: " + b"x" * _yaml.LARGEST, "larger than 1 MiB"),
        (b"[" * 3000, "nesting depth"),
        (b"- " * 900 + b"x", "nested more than 50"),
        (b"[" * 51 + b"]" * 51, "nested more than 50"),
        (b"a: [", "cannot read the settings"),
        (b"a: \xff", "cannot read the settings"),
        (b"a: \x00", "cannot read the settings"),
        (b"a: !!python/object:os.system x", "cannot read the settings"),
        (b"a: 2024-99-99", "cannot read the settings"),
        (b"a: {b: 1, c: 2, 'b': 3}", "the key 'b' occurs twice; remove one .* column 17"),
        (b"- a: 1\n  a: 1", "the key 'a' occurs twice"),
        (b"? !" + b"x" * 9000, "cannot read the settings"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, content, reason):
    """The message names the file; nothing else is raised, and the process keeps running."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        _yaml.load(path, "the settings")
    assert str(path) in str(caught.value)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


def test_a_missing_file_is_a_clear_error(tmp_path):
    """As is a folder in its place."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the settings"):
            _yaml.load(path, "the settings")


LIST_OF_ALIASES = "\n".join(
    ["a: &a0 [x, x]", *(f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60 + "]" * 60,
        "{a: " * 3_000,
        "- " * 3_000 + "a",
        "9" * 5_000,
        "1:" + "1:" * 20_000 + "1",
        "0x" + "f" * 5_000,
        "!!float 1e-" + "9" * 500,
        "2001-13-45",
        "!!timestamp x",
        "!!int x",
        "!!bool x",
        "&a [*a]",
        LIST_OF_ALIASES,
        "a: b: c",
        "\x01",
    ],
    ids=lambda text: text[:20],
)
def test_hostile_yaml_is_refused(text, tmp_path):
    """What would take without end, or fail with another error, is refused."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot read the settings"):
        _yaml.load(path, "the settings")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "[1, 1.5, 2001-01-01, 0x1f, 190:20:30, true, null, 1e-999]",
        "a: &a {b: c}\nd: {<<: *a, b: d, e: [*a, *a]}",
        "{1: a, '1': b}",
        "x: " + "9" * 90,
        "? a\n: b",
    ],
)
def test_other_yaml_is_read_as_ever(text):
    """Numbers, times, anchors and merges mean what they mean in YAML."""
    assert _yaml.parse(text) == yaml.safe_load(text)


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    flag: bool | None = None


class _Outer(msgspec.Struct):
    inner: _Inner | None = None
    items: tuple[int, ...] = ()


@pytest.mark.parametrize(
    "content,message",
    [
        ([], "file: part: expected `mapping`, got `list` (write a mapping)"),
        ({"inner": 5}, "file: part.inner: expected `mapping | null`, got `int` (write a mapping)"),
        ({"inner": {}}, "file: part.inner: missing key `text` (write a mapping)"),
        (
            {"inner": {"text": "a", "flag": 1}},
            "file: part.inner.flag: expected `bool | null`, got `int` (write a mapping)",
        ),
        ({"items": [1, "x"]}, "file: part.items[1]: expected `int`, got `str` (write a mapping)"),
        (
            {"inner": {"text": "a", "flat": 1}},
            "file: unknown key 'part.inner.flat' (did you mean 'flag'?)",
        ),
        ({5: 5}, "file: part: each key must be text (put it in quotes)"),
        ({"inner": {"text": "a", 5: 5}}, "file: part.inner: each key must be text"),
        ({"inner": {"` - at `$.inner": 1}}, "file: unknown key 'part.inner.` - at `$.inner'"),
    ],
)
def test_content_of_another_shape_is_one_clear_error(content, message):
    """The message names the file, the key, and what belongs there."""
    with pytest.raises(ConfigError) as caught:
        _yaml.convert(content, _Outer, "file", "part", hint="write a mapping")
    assert str(caught.value).startswith(message)


def test_content_of_the_declared_shape_is_returned():
    """Absent keys have their defaults."""
    found = _yaml.convert({"inner": {"text": "a"}, "items": [1], "other": 1}, _Outer, "file")
    assert found == _Outer(_Inner("a"), (1,))


def test_a_long_unknown_key_is_shortened():
    """A hostile file makes no endless message, and cannot fail otherwise."""
    for key in ("x" * 100_000, "a` - at `$.inner.zz", "a` - at `$[...]", "` - at `key` in `$"):
        with pytest.raises(ConfigError) as caught:
            _yaml.convert({key: 1}, _Inner, "file")
        assert len(str(caught.value)) < 1000
