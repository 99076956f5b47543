from __future__ import annotations

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
        (b"[" * 3000, "nested more than 50"),
        (b"- " * 3000 + b"x", "nested more than 50"),
        (b"a: [", "cannot read the settings"),
        (b"a: \xff", "cannot read the settings"),
        (b"a: \x00", "cannot read the settings"),
        (b"a: !!python/object:os.system x", "cannot read the settings"),
        (b"a: 2024-99-99", "cannot read the settings"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, content, reason):
    """The message names the file; nothing else is raised, and the process goes on."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        _yaml.load(path, "the settings")
    assert str(path) in str(caught.value)
    assert "\n" not in caught.value.message


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
        "a: &a {b: c}\nd: {<<: *a, e: [*a, *a]}",
        "x: " + "9" * 90,
        "? a\n: b",
    ],
)
def test_other_yaml_is_read_as_ever(text):
    """Numbers, times, anchors and merges mean what they mean in YAML."""
    assert _yaml.parse(text) == yaml.safe_load(text)
