from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vastlab.config import DEFAULT_ENDPOINT, Settings, cache_folder, resolve_endpoint, state_folder
from vastlab.endpoints import (
    ClusterEndpoint,
    DemoEndpoint,
    NodeEndpoint,
    ObjectStoreEndpoint,
    PathEndpoint,
    parse_endpoint,
)
from vastlab.errors import ConfigError, UsageError


@pytest.fixture
def load(tmp_path):
    """Return a function that writes settings files and loads them."""
    here, user = tmp_path / "here", tmp_path / "config" / "vast"
    here.mkdir()
    user.mkdir(parents=True)

    def load_settings(local=None, personal=None, variable=None, suffix="yaml"):
        for folder, text in ((here, local), (user, personal)):
            if text is not None:
                (folder / f"vast.{suffix}").write_text(text)
        environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path / "none")}
        if variable is not None:
            environ["VAST_ENDPOINT"] = variable
        return Settings.load(here, environ)

    return load_settings


# --- endpoints ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text,endpoint",
    [
        ("demo:", DemoEndpoint()),
        ("m57.db", PathEndpoint(Path("m57.db"))),
        ("localhost", NodeEndpoint("localhost", 5158)),
        ("10.0.0.1", NodeEndpoint("10.0.0.1", 5158)),
        ("::1", NodeEndpoint("::1", 5158)),
        ("[::1]", NodeEndpoint("::1", 5158)),
        ("[::1]:42000", NodeEndpoint("::1", 42000)),
        ("[2001:db8::7]/tcp", NodeEndpoint("2001:db8::7", 5158)),
        ("localhost.db", PathEndpoint(Path("localhost.db"))),
        ("10.0.0", PathEndpoint(Path("10.0.0"))),
        ("10.0.0.256", PathEndpoint(Path("10.0.0.256"))),
        ("[10.0.0.1]", PathEndpoint(Path("[10.0.0.1]"))),
        ("[::g]:80", PathEndpoint(Path("[::g]:80"))),
        ("fe80::1%eth0", PathEndpoint(Path("fe80::1%eth0"))),
        ("head", PathEndpoint(Path("head"))),
        ("./localhost", PathEndpoint(Path("localhost"))),
        ("./a:80", PathEndpoint(Path("a:80"))),
        ("file:///data/a%20b%5B1%5D", PathEndpoint(Path("/data/a b[1]"))),
        ("file:relative", PathEndpoint(Path("relative"))),
        (":5158", NodeEndpoint("127.0.0.1", 5158)),
        ("localhost:42000", NodeEndpoint("localhost", 42000)),
        ("10.0.0.1:5158/tcp", NodeEndpoint("10.0.0.1", 5158)),
        ("s3://bucket/path", ObjectStoreEndpoint("s3://bucket/path")),
        ("S3://bucket", ObjectStoreEndpoint("s3://bucket")),
        ("gs://my.bucket/a/b c/", ObjectStoreEndpoint("gs://my.bucket/a/b c")),
        ("az://container/cases/é", ObjectStoreEndpoint("az://container/cases/é")),
        ("dask://head:8786/data/db", ClusterEndpoint("head:8786", PathEndpoint(Path("data/db")))),
        ("dask://head:8786//data/db", ClusterEndpoint("head:8786", PathEndpoint(Path("/data/db")))),
        (
            "dask://head:8786/s3://bucket/db",
            ClusterEndpoint("head:8786", ObjectStoreEndpoint("s3://bucket/db")),
        ),
    ],
)
def test_every_kind_of_endpoint_is_told_apart(text, endpoint):
    """A known scheme, else host and port, else a path."""
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text,part",
    [
        ("", "empty"),
        ("  ", "empty"),
        ("host:5158/udp", "udp"),
        ("host:0", "port"),
        ("host:65536", "port"),
        ("[::1]:5158/udp", "udp"),
        ("[::1]:65536", "port"),
        ("http://host/", "'http'"),
        ("s3:///path", "bucket"),
        ("gs://", "bucket"),
        ("s3://bucket/a//b", "a name"),
        ("s3://bucket/../b", "a name"),
        ("s3://bucket/a%20b", "%20"),
        ("s3://bucket/a\tb", "a name"),
        ("az://bücket/a", "a name"),
        ("file://elsewhere/data", "another machine"),
        ("file:", "no folder"),
        ("dask://head:8786", "scheduler"),
        ("dask://head:8786/", "scheduler"),
        ("dask:///data", "scheduler"),
        ("dask://head:8786/other:80", "scheduler"),
    ],
)
def test_an_endpoint_that_names_nothing_is_one_error(text, part):
    """The error is a UsageError that shows what is wrong."""
    with pytest.raises(UsageError, match=part):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:hunter2@bucket/path",
        "s3://hunter2@bucket",
        "s3://key:hun/ter2@bucket/hunter2",
        "s3://key:hunter2/path",
        "gs://bucket/path?token=hunter2",
        "az://container/path?sv=1&sig=hunter2",
        "s3://bucket/path#hunter2",
        "dask://head:8786/s3://key:hunter2@bucket/path",
        "dask://me:hunter2@head:8786/data",
        "dask://me:hunter2@head:8786/s3://bucket/path",
        "http://me:hunter2@host/",
        "s3://k:hunter2@\u2102/bucket",
    ],
)
def test_a_secret_in_an_endpoint_is_refused_and_not_shown(text):
    """Neither the error nor what caused it holds the password or token."""
    with pytest.raises(UsageError) as caught:
        parse_endpoint(text)
    error: BaseException | None = caught.value
    while error is not None:
        shown = f"{error} {error!r}"
        assert "hunter2" not in shown
        assert "ter2" not in shown
        error = error.__cause__


def test_an_object_store_is_named_by_its_parts():
    """The scheme, the bucket and the prefix are apart."""
    endpoint = parse_endpoint("gs://bucket/a/b/")
    assert isinstance(endpoint, ObjectStoreEndpoint)
    assert (endpoint.scheme, endpoint.bucket, endpoint.prefix) == ("gs", "bucket", "a/b")


@pytest.mark.parametrize("thing", [5, b"logs", ["logs"]])
def test_an_endpoint_that_is_no_text_is_a_usage_error(thing):
    """What is neither text nor path is named."""
    with pytest.raises(UsageError, match="must be a text"):
        parse_endpoint(thing)


def test_a_path_object_is_always_a_path():
    """What looks like a node is a folder when it comes as a path object."""
    assert parse_endpoint(Path("localhost:80")) == PathEndpoint(Path("localhost:80"))


@pytest.mark.parametrize("name", ["localhost", "10.0.0.1", "::1", "[::1]"])
def test_a_folder_of_that_name_comes_before_a_host(tmp_path, monkeypatch, load, name):
    """A host without a port is a node where no path has its name, wherever it is written."""
    monkeypatch.chdir(tmp_path)
    node = NodeEndpoint(name.strip("[]"), 5158)
    settings = load(local=f"vast:\n  endpoint: '{name}'\n")
    assert resolve_endpoint(name) == node
    assert resolve_endpoint(settings=settings) == node
    assert resolve_endpoint(settings=load(variable=name)) == node
    (tmp_path / name).mkdir()
    assert resolve_endpoint(name) == PathEndpoint(Path(name))
    assert resolve_endpoint(settings=settings) == PathEndpoint(Path(name))


def test_a_tilde_is_the_home_folder(monkeypatch):
    """Texts and path objects are both expanded."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert parse_endpoint("~/db") == parse_endpoint(Path("~/db"))
    assert parse_endpoint("~/db") == PathEndpoint(Path("/home/ann/db"))


@given(st.from_regex(r"[A-Za-z0-9._-]{0,12}:[1-9][0-9]{0,3}(/tcp)?", fullmatch=True))
@example("[::1]:80")
def test_a_node_is_written_as_it_is_read(text):
    """The text of a node endpoint names the same node."""
    endpoint = parse_endpoint(text)
    assert isinstance(endpoint, NodeEndpoint)
    assert parse_endpoint(str(endpoint)) == endpoint


@given(
    st.text() | st.builds("".join, st.tuples(st.sampled_from(["s3://", "~", "file:"]), st.text()))
)
@example("s3://[")
@example("~no-such-user/db")
@example("~\x00")
def test_every_text_is_an_endpoint_or_a_usage_error(text):
    """No text makes any other exception."""
    with contextlib.suppress(UsageError):
        parse_endpoint(text)


# --- the order of precedence ----------------------------------------------------------------


def test_the_order_is_variable_then_local_then_personal_then_default(load):
    """Each source wins over those after it, and is named."""
    local, personal = "vast: {endpoint: local.db}", "vast: {endpoint: personal.db}"
    assert load().endpoint == DEFAULT_ENDPOINT
    assert load().source == "the default"
    assert load(personal=personal).endpoint == "personal.db"
    settings = load(local=local, personal=personal)
    assert settings.endpoint == "local.db"
    assert settings.source.endswith(os.path.join("here", "vast.yaml"))
    settings = load(local=local, personal=personal, variable="variable.db")
    assert (settings.endpoint, settings.source) == ("variable.db", "VAST_ENDPOINT")


def test_an_argument_wins_over_all_settings():
    """The settings count only where no argument is given."""
    settings = Settings("settings.db", "VAST_ENDPOINT")
    assert resolve_endpoint("argument.db", settings) == PathEndpoint(Path("argument.db"))
    assert resolve_endpoint(None, settings) == PathEndpoint(Path("settings.db"))


def test_a_bad_endpoint_in_the_settings_says_where_it_stands():
    """The error names the source."""
    with pytest.raises(UsageError, match="VAST_ENDPOINT"):
        resolve_endpoint(None, Settings("host:0", "VAST_ENDPOINT"))


def test_an_empty_variable_counts_as_none(load):
    """As in VAST, an empty VAST_ENDPOINT is ignored."""
    assert load(variable="").endpoint == DEFAULT_ENDPOINT


def test_the_home_folder_counts_only_without_xdg(tmp_path):
    """XDG_CONFIG_HOME replaces ~/.config and is not searched beside it."""
    folder = tmp_path / "home" / ".config" / "vast"
    folder.mkdir(parents=True)
    (folder / "vast.yaml").write_text("vast: {endpoint: home.db}")
    environ = {"HOME": str(tmp_path / "home")}
    assert Settings.load(tmp_path, environ).endpoint == "home.db"
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert Settings.load(tmp_path, environ).endpoint == DEFAULT_ENDPOINT


# --- files ----------------------------------------------------------------------------------


def test_the_short_suffix_is_read_too(load):
    """vast.yml does what vast.yaml does."""
    assert load(local="vast: {endpoint: short.db}", suffix="yml").endpoint == "short.db"


def test_both_suffixes_in_one_folder_are_an_error(load):
    """Nobody has to guess which of the two counts."""
    load(local="")
    with pytest.raises(ConfigError, match=r"vast\.yaml and .*vast\.yml"):
        load(local="", suffix="yml")


@pytest.mark.parametrize(
    "text",
    [
        "vast: [unclosed",
        "- a list",
        "vast: text",
        "vast: {endpoint: 5}",
        "vast: {endpoint: [a]}",
        "vastlab: {client: 5}",
        "vastlab: {verify: 5}",
        "vastlab: {profiles: {lab: {}}}",
        "vastlab: {profiles: [a]}",
        "vastlab: {profiles: {5: {endpoint: a}}}",
        "a: !!python/object/apply:os.getcwd []",
        "\0",
    ],
)
def test_a_file_that_cannot_be_used_is_named(load, text):
    """The error names the file, and YAML can run no code."""
    with pytest.raises(ConfigError, match=r"vast\.yaml"):
        load(local=text)


def test_an_unknown_key_is_an_error_with_a_suggestion(load):
    """Under vastlab: nothing is ignored; VAST's own keys are left alone."""
    with pytest.raises(ConfigError, match=r"vastlab\.cleint.*did you mean 'client'"):
        load(local="vastlab: {cleint: tenzir}")
    with pytest.raises(ConfigError, match=r"vastlab\.profiles\.lab\.url"):
        load(local="vastlab: {profiles: {lab: {endpoint: a, url: b}}}")
    assert load(local="vast: {db-directory: x}\nplugins: [all]").endpoint == DEFAULT_ENDPOINT


@pytest.mark.parametrize(
    "text,message",
    [
        ("vast: {endpoint: 5}", "vast.yaml: vast.endpoint: expected `str | null`, got `int`"),
        ("vast: {endpoint: ''}", "vast.yaml: vast.endpoint: expected `str` of length >= 1"),
        ("vastlab: {infer: 1}", "vast.yaml: vastlab.infer: expected `bool | null`, got `int`"),
        ("vastlab: [a]", "vast.yaml: vastlab: expected `mapping | null`, got `list`"),
        ("vastlab: {profiles: {lab: }}", "vastlab.profiles.lab: expected `mapping`, got `null`"),
        ("vastlab: {profiles: {lab: {}}}", "vastlab.profiles.lab: missing key `endpoint`"),
        ("vastlab: {profiles: {lab: {endpoint: 5}}}", "vastlab.profiles.lab.endpoint: expected"),
        ("vastlab: {profiles: {5: {endpoint: a}}}", "vastlab.profiles: each key must be text"),
        ("vast: {endpoint: a}\nvast: {endpoint: b}", "the key 'vast' occurs twice"),
    ],
)
def test_the_message_names_the_key(load, text, message):
    """It says what is expected there; of a key that occurs twice, neither counts."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(local=text)


def test_keys_without_values_count_as_absent(load):
    """A section whose lines are all commented out is empty."""
    text = "vast:\nvastlab:\n  profiles:\n  client:\n"
    assert load(local=text).endpoint == DEFAULT_ENDPOINT


def test_the_users_folder_is_known(load, tmp_path):
    """Other files of the user's are looked for beside the user's vast.yaml."""
    assert load().user_folder == tmp_path / "config" / "vast"
    assert Settings.load(tmp_path, {"HOME": str(tmp_path)}).user_folder is None


def test_caches_are_kept_where_the_system_says(monkeypatch):
    """XDG_CACHE_HOME replaces ~/.cache."""
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/h/.cache/vastlab")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_folder() == Path("/c/vastlab")


def test_the_history_is_kept_where_the_system_says(monkeypatch):
    """XDG_STATE_HOME replaces ~/.local/state."""
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_folder() == Path("/h/.local/state/vastlab")
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert state_folder() == Path("/s/vastlab")


def test_profiles_of_both_files_are_joined(load):
    """The local file wins where both have a profile of one name."""
    settings = load(
        local="vastlab: {profiles: {a: {endpoint: local.db}}}",
        personal="vastlab: {client: tenzir, profiles: {a: {endpoint: x.db}, b: {endpoint: p.db}}}",
    )
    assert settings.profiles == {"a": "local.db", "b": "p.db"}
    assert settings.client == "tenzir"
    assert settings.profile("b") == "p.db"
    with pytest.raises(ConfigError, match="no such profile: 'c'"):
        settings.profile("c")


def test_only_the_users_own_file_can_leave_out_the_checksums(load):
    """A file in the working folder, which may have come with the logs, cannot."""
    assert load().verify
    with pytest.raises(ConfigError, match=r"vastlab\.verify may stand in your own"):
        load(local="vastlab: {verify: false}")
    assert not load(local="", personal="vastlab: {verify: false}").verify


@pytest.mark.parametrize("text", ["a\0b", "~\0", "file:///a%00b", "a\0b:80"])
def test_a_null_character_is_one_clear_error(text):
    """No file system has such a name."""
    with pytest.raises(UsageError, match="null character"):
        parse_endpoint(text)


# --- an untrusted vast.yaml ----------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    ["/etc", "../outside.db", "~/case.db", "file:///etc", "dask://head:8786/x", "s3://bucket/x"],
)
def test_a_foreign_file_cannot_choose_what_lies_outside_its_folder(load, endpoint):
    """The endpoint and the profiles of ./vast.yaml are refused by name, where they are used."""
    profiles = f"vastlab: {{profiles: {{a: {{endpoint: '{endpoint}'}}}}}}"
    settings = load(local=f"vast: {{endpoint: '{endpoint}'}}\n{profiles}")
    with pytest.raises(ConfigError, match=r"here.vast\.yaml names .* not below its folder"):
        resolve_endpoint(None, settings)
    with pytest.raises(ConfigError, match="not below its folder"):
        settings.profile("a")
    assert resolve_endpoint("demo:", settings) == DemoEndpoint()


def test_a_link_out_of_the_folder_is_refused(load, tmp_path):
    """What counts is where a path leads, not how it is written."""
    (tmp_path / "here" / "logs").symlink_to("/etc")
    with pytest.raises(ConfigError, match="not below its folder"):
        resolve_endpoint(None, load(local="vast: {endpoint: logs}"))


@pytest.mark.parametrize("endpoint", ["demo:", "host:5158", "logs", "./a/b.db", "."])
def test_a_foreign_file_may_name_nodes_and_its_own_folders(load, endpoint):
    """These are used as they are."""
    settings = load(local=f"vast: {{endpoint: '{endpoint}'}}")
    assert resolve_endpoint(None, settings) == parse_endpoint(endpoint)


def test_only_the_users_own_file_chooses_the_client(load):
    """A file in a stranger's folder must not say which program is run."""
    with pytest.raises(ConfigError, match=r"vastlab\.client may stand in your own"):
        load(local="vastlab: {client: tenzir}")
    assert load(local="", personal="vastlab: {client: tenzir}").client == "tenzir"


def test_the_users_own_file_may_name_any_endpoint(load):
    """The user's file and the environment are trusted."""
    own = load(personal="vast: {endpoint: /data/x}")
    assert resolve_endpoint(None, own) == PathEndpoint(Path("/data/x"))
    settings = load(local="vast: {endpoint: /etc}", variable="/data/y")
    assert resolve_endpoint(None, settings) == PathEndpoint(Path("/data/y"))
