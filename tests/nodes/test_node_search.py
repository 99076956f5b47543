"""The client that can talk to a node is detected; without one the error is clear."""

from __future__ import annotations

import asyncio
import json
import re
import socket

import pytest

from vastlab.client import VAST
from vastlab.config import Settings, resolve_endpoint
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import ClientNotFoundError, ConfigError, NodeConnectionError, NodeError
from vastlab.nodes import node_search, process
from vastlab.nodes.node_search import NodeSearch
from vastlab.nodes.vast import client as vast

TENZIR = """#!/bin/sh
echo "$@" >> "{calls}"
{body}
"""


@pytest.fixture
def server(server, only_vast):
    """Run a VAST node, with `vast` as the only client."""
    return server


@pytest.fixture
def tenzir(tmp_path):
    """Return a function that puts a `tenzir` on PATH, and one that tells how it was called."""
    calls = tmp_path / "tenzir-calls"

    def install(body):
        program = tmp_path / "bin" / "tenzir"
        program.write_text(TENZIR.format(calls=calls, body=body))
        program.chmod(0o755)
        return lambda: calls.read_text().splitlines() if calls.exists() else []

    return install


def at(port, client="auto"):
    """Return a client of the node at a port of this machine."""
    return VAST(f"127.0.0.1:{port}", client=client)


@pytest.fixture
def unused_port():
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_the_client_that_gets_an_answer_is_kept(server, tenzir):
    """A client of the other kind is given up as soon as one has an answer, and not asked again."""
    calls = tenzir("exec sleep 60")
    node = at(server.port)
    async with asyncio.timeout(30):
        assert await node.schemas() == {}
        assert await node.counts() == {}
    assert len(calls()) <= 1
    assert [call["argv"][-1] for call in server.calls].count("version") == 1


async def test_a_closed_node_is_looked_for_again(server, tenzir):
    """After `aclose` the client is detected again."""
    tenzir("exec sleep 60")
    node = at(server.port)
    await node.schemas()
    await node.aclose()
    await node.schemas()
    assert [call["argv"][-1] for call in server.calls].count("status") == 2


async def test_a_single_client_is_used_at_once(server):
    """Where there is nothing to find out, no program is run for it."""
    assert await at(server.port).schemas() == {}
    assert sorted(call["argv"][-1] for call in server.calls) == ["schemas", "version"]


async def test_clients_are_found_out_once_for_all_who_ask(server, tenzir):
    """Two questions at the same time are one search."""
    calls = tenzir("exec sleep 60")
    node = at(server.port)
    await asyncio.gather(node.schemas(), node.schemas())
    assert len(calls()) <= 1
    assert [call["argv"][-1] for call in server.calls].count("status") == 1


@pytest.mark.parametrize("client", node_search.CLIENTS)
async def test_without_any_client_both_remedies_are_named(tmp_path, monkeypatch, client):
    """One error says what can be installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process, "_bundled", lambda *parts: None)
    with pytest.raises(ClientNotFoundError, match=r"`vast`.*`tenzir`.*vastlab\[tenzir\]"):
        await at(1, client).status()


async def test_a_client_can_be_chosen(server, tenzir):
    """Only the chosen client is asked, though another one is there."""
    calls = tenzir("exit 1")
    await at(server.port, "vast").schemas()
    assert calls() == []
    with pytest.raises(NodeError, match="tenzir ended with"):
        await at(server.port, "tenzir").schemas()
    assert calls()


@pytest.mark.parametrize("argument, setting", [("vast", "tenzir"), (None, "vast")])
async def test_the_argument_beats_the_setting(
    server, tenzir, tmp_path, monkeypatch, argument, setting
):
    """`vastlab.client` in vast.yaml is what counts where no argument says more."""
    calls = tenzir("exit 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "vast").mkdir(parents=True)
    (tmp_path / "config" / "vast" / "vast.yaml").write_text(f"vastlab:\n  client: {setting}\n")
    async with VAST(server.endpoint, client=argument) as client:
        assert await client.count() == 0
    assert calls() == []


def test_a_client_that_does_not_exist_is_an_error():
    """The error lists those that do."""
    with pytest.raises(ConfigError, match=r"no such client: 'zeek'.*auto, vast, tenzir"):
        NodeSearch(NodeEndpoint("127.0.0.1", 1), "zeek")


async def test_nothing_behind_the_port_is_said_once(server, tenzir, unused_port):
    """Whoever is asked first, the error is that nothing answers."""
    tenzir("echo 'error: failed to connect to node' >&2; exit 1")
    with pytest.raises(NodeConnectionError, match=f"nothing answers at 127.0.0.1:{unused_port}"):
        await at(unused_port).status()


async def test_a_client_that_cannot_be_used_is_named(server, unused_port):
    """A program of that name and another version is what the error tells of."""
    server.set_program(version='{"VAST": "v1.0.0"}')
    with pytest.raises(ClientNotFoundError, match=r"vast cannot be used: it says 1\.0"):
        await at(unused_port).status()


async def test_an_error_says_that_the_port_is_not_that_of_a_node(server, tenzir, monkeypatch):
    """Where no client gets on with what listens, the port is in doubt."""
    monkeypatch.setattr(vast, "CONNECT_SECONDS", 1)
    server.faults.mute = True
    tenzir("echo 'error: handshake failed' >&2; exit 1")
    with pytest.raises(NodeConnectionError, match="is not a node"):
        await at(server.port).status()


async def test_a_cancelled_search_leaves_no_program(server):
    """Giving up while a client is asked ends that client."""
    server.faults.mute = True
    waiting = asyncio.ensure_future(at(server.port).status())
    await asyncio.to_thread(server.wait_until_connected)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await asyncio.to_thread(server.wait_until_alone)


def test_the_package_is_preferred_to_its_script(tmp_path, monkeypatch):
    """The bundled program is started directly: its wrapper on PATH takes twice as long."""
    folder = tmp_path / "tenzir"
    program = folder / "bundled" / "bin" / "tenzir"
    program.parent.mkdir(parents=True)
    program.touch()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert process.find_tenzir().samefile(program)


RECORDED = {
    "p01": "argument over variable",
    "p02": "variable alone",
    "p03": "variable over the user's file",
    "p04": "the user's file",
    "p05": "the user's file in the home folder",
    "p06": "XDG_CONFIG_HOME over the home folder",
    "p08": "variable over ./vast.yaml",
    "p14": "argument over an empty variable",
    "p15": "an empty variable is none",
    "p16": "a port alone",
    "p17": "a name",
    "p18": "a protocol",
}
LIVE = "5258"


@pytest.mark.parametrize("case", RECORDED)
def test_endpoints_resolve_as_recorded(shared, tmp_path, monkeypatch, case):
    """Where VAST itself has a rule, the endpoint is the one that `vast` connected to."""
    (path,) = (shared / "golden" / "endpoint").glob(f"{case}_*.json")
    recorded = json.loads(path.read_text())
    given = [a.partition("=")[2] for a in recorded["argv"] if a.startswith("--endpoint=")]
    refused = re.search(r"VAST node at \S+:(\d+)", path.with_suffix(".stderr.txt").read_text())
    place_files(recorded, tmp_path, monkeypatch)
    found = resolve_endpoint(given[0] if given else None, Settings.load())
    assert str(found.port) == (refused[1] if refused else LIVE), RECORDED[case]


def test_a_file_in_the_folder_beats_that_of_the_user(shared, tmp_path, monkeypatch):
    """`./vast.yaml`, which `vast` never reads, is read as PyVAST promised."""
    path = shared / "golden" / "endpoint" / "p07_cwd_vast_yaml_vs_xdg.json"
    recorded = json.loads(path.read_text())
    place_files(recorded, tmp_path, monkeypatch)
    assert resolve_endpoint(None, Settings.load()).port == 5291


def place_files(recorded, folder, monkeypatch):
    """Make the files and variables of a recording; the folder stands for the root."""
    monkeypatch.setenv("HOME", str(folder / "vast" / "home"))
    for name in ("XDG_CONFIG_HOME", "VAST_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in recorded["env"].items():
        monkeypatch.setenv(name, f"{folder}{value}" if value.startswith("/") else value)
    (folder / "vast" / "run").mkdir(parents=True)
    monkeypatch.chdir(folder / "vast" / "run")
    for name, text in recorded["files"].items():
        file = folder / name.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


async def test_where_nobody_named_an_endpoint_the_error_says_so(monkeypatch, tmp_path):
    """The default endpoint is tried in silence; an error says how to name another one."""
    monkeypatch.setattr(process, "find_vast", lambda: None)
    monkeypatch.setattr(process, "find_tenzir", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        "vastlab._session.resolve_endpoint", lambda *_: NodeEndpoint("127.0.0.1", 1)
    )
    vast = VAST()
    with pytest.raises(ClientNotFoundError, match=r'no endpoint was named: name .*"demo:"'):
        await vast.status()
