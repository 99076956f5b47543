"""What the user says of logs counts from every entry: encodings, raw text, own schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vastlab
from vastlab.config import Settings
from vastlab.errors import ConfigError, UsageError
from vastlab.store.log_folder import LogFolder

TABLE = "host,label\n192.0.2.1,caf\xe9\n"
OWN = "events: {hosts: {host: string, label: string}}"


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """Give the user's folder of settings, and let nothing else count."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config" / "vast"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def logs(tmp_path) -> str:
    """Give a folder with a table in an encoding of its own."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "hosts.csv").write_bytes(TABLE.encode("cp1252"))
    return str(folder)


def of(endpoint: str, **options: object) -> tuple[int, str]:
    """Return how many hosts are found as text, and their labels."""
    with vastlab.connect(endpoint, **options) as vast:
        rows = vast.query("").to_dicts()["hosts"]
        return vast.count('host == "192.0.2.1"'), rows[0]["label"]


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
@pytest.mark.parametrize("way", ["arguments", "settings"])
def test_a_folder_is_read_with_the_options_of_the_user(config, logs, way):
    """By arguments of `connect`, or by keys in `vast.yaml`."""
    if way == "arguments":
        assert of(logs, infer=False, encoding="cp1252") == (1, "café")
        assert of(logs, encoding="cp1252") == (0, "café")
    else:
        (config / "vast.yaml").write_text("vastlab: {infer: false, encoding: cp1252}")
        assert of(logs) == (1, "café")
        assert of(logs, infer=True) == (0, "café")


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
def test_an_import_uses_the_options_of_the_user(config, logs, tmp_path):
    """Its arguments go before those of the connection."""
    with vastlab.connect(str(tmp_path / "x.db"), infer=True, encoding="utf-8") as vast:
        vast.ingest(f"{logs}/hosts.csv", infer=False, encoding="cp1252")
    assert of(str(tmp_path / "x.db")) == (1, "café")


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
@pytest.mark.parametrize("where", ["user", "database"])
def test_own_schemas_decide_before_any_guess(config, logs, tmp_path, where):
    """They stand beside the user's settings, or in the database."""
    folder = (config if where == "user" else tmp_path / "x.db") / "schemas"
    folder.mkdir(parents=True)
    (folder / "hosts.yaml").write_text(OWN)
    with vastlab.connect(str(tmp_path / "x.db")) as vast:
        vast.ingest(f"{logs}/hosts.csv", encoding="cp1252")
    assert of(str(tmp_path / "x.db")) == (1, "café")
    assert of(logs, encoding="cp1252")[0] == (1 if where == "user" else 0)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_own_schemas_count_in_every_reader(config, tmp_path, suffix):
    """Text stays text where it is declared so."""
    (config / "schemas").mkdir()
    (config / "schemas" / "hosts.yml").write_text(OWN)
    event = {"host": "192.0.2.1", "label": "5"}
    table = "host,label\n192.0.2.1,5\n"
    path = tmp_path / f"hosts.{suffix}"
    path.write_text(table if suffix == "csv" else json.dumps(event))
    with vastlab.connect(str(tmp_path / "x.db")) as vast:
        vast.ingest(str(path))
        assert vast.count('host == "192.0.2.1" && label == "5"') == 1


@pytest.mark.parametrize("keys", ["infer: maybe", "encoding: 5", "infered: true"])
def test_settings_that_are_wrong_are_one_error(config, keys):
    """The file, the key, and what it must be."""
    (config / "vast.yaml").write_text(f"vastlab: {{{keys}}}")
    with pytest.raises(ConfigError, match=r"vastlab\.(infer|encoding|infered)"):
        Settings.load()


def test_an_encoding_that_does_not_exist_is_one_error(config, logs, tmp_path):
    """Wherever it is named, before anything is read."""
    with pytest.raises(UsageError, match="unknown encoding: 'cp1525'"):
        vastlab.connect(logs, encoding="cp1525")
    with pytest.raises(UsageError, match="unknown encoding"):
        LogFolder(logs, encoding="cp1525")
    with (
        vastlab.connect(str(tmp_path / "x.db")) as vast,
        pytest.raises(UsageError, match="unknown encoding"),
    ):
        vast.ingest(logs, encoding="cp1525")
    assert not (tmp_path / "x.db").exists()
    (config / "vast.yaml").write_text("vastlab: {encoding: cp1525}")
    with pytest.raises(ConfigError, match=r"vastlab\.encoding .*unknown encoding"):
        vastlab.connect(logs)


def test_schemas_that_are_wrong_are_one_error(config, logs):
    """A file that cannot be used is named when the connection is made."""
    (config / "schemas").mkdir()
    (config / "schemas" / "x.yaml").write_text("events: {hosts: {host: address}}")
    with pytest.raises(ConfigError, match=r"x\.yaml: events\.hosts\.host: unknown type"):
        vastlab.connect(logs)
