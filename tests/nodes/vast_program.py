"""The program `vast` of the tests: a client of `tests.nodes.fake_vast.FakeVast`.

Fixtures copy it onto PATH. It knows the standard library only, so that it starts fast, and
treats its command line, environment, standard input and signals as VAST 3.1 does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import struct
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAG, VALUE = False, True
ROOT = {
    "endpoint": VALUE,
    "connection-timeout": VALUE,
    "connection-retry-delay": VALUE,
    "console-verbosity": VALUE,
    "config": VALUE,
    "bare-mode": FLAG,
}
COMMANDS = {
    "export": {
        "continuous": FLAG,
        "unified": FLAG,
        "low-priority": FLAG,
        "max-events": VALUE,
        "timeout": VALUE,
        "read": VALUE,
        "write": VALUE,
    },
    "count": {"estimate": FLAG, "disable-taxonomies": FLAG},
    "status": {"detailed": FLAG, "debug": FLAG},
    "show": {"expand": FLAG, "yaml": FLAG},
    "import": {"blocking": FLAG, "batch-size": VALUE, "max-events": VALUE, "read": VALUE},
    "version": {},
}
SUBCOMMANDS = {
    "export": ("arrow", "ascii", "csv", "json", "null", "zeek"),
    "show": ("concepts", "models", "schemas"),
    "import": ("arrow", "csv", "json", "suricata", "zeek"),
}


def main() -> None:
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    settings = read_settings()
    record()
    if settings.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stderr.write("x" * settings.get("noise", 0) + "\n")
    options, command, sub, words = parse(sys.argv[1:])
    if command == "version":
        while settings.get("version_waits") and not (HERE / "asked").exists():
            time.sleep(0.01)
        sys.stdout.write(settings.get("version", '{\n  "VAST": "v3.1.0",\n  "CAF": "0.18.7"\n}\n'))
        sys.exit(settings.get("version_status", 0))
    if settings.get("broken"):
        sys.stderr.write(settings["broken"])
        sys.exit(1)
    query = read_query(command, words)
    link = connect(options)
    request = {"command": command, "sub": sub, "query": query, "options": options}
    link.sendall(json.dumps(request).encode() + b"\n")
    if command == "import":
        while block := os.read(0, 1 << 16):
            link.sendall(block)
        link.shutdown(socket.SHUT_WR)
    relay(link, command)


def read_settings() -> dict:
    path = HERE / "settings.json"
    return json.loads(path.read_text()) if path.exists() else {}


def record() -> None:
    call = {
        "argv": sys.argv[1:],
        "pid": os.getpid(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith("VAST_")},
        "stdin": "null" if os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev else "other",
    }
    with (HERE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(call) + "\n")


# --- the command line ---------------------------------------------------------------------------


def parse(argv: list[str]) -> tuple[dict, str, str, list[str]]:
    root, rest = take_options(argv, ROOT)
    if not rest:
        usage("missing subcommand after vast")
    command, *rest = rest
    if command not in COMMANDS:
        usage("unrecognized subcommand")
    options, rest = take_options(rest, COMMANDS[command])
    sub = ""
    if command in SUBCOMMANDS:
        if not rest:
            usage(f"missing subcommand after {command}")
        sub, *rest = rest
        if sub not in SUBCOMMANDS[command]:
            usage("unrecognized subcommand")
        _, rest = take_options(rest, {})
    if rest == ["help"]:
        sys.stdout.write("usage: vast\n")
        sys.exit(0)
    # The whole line wins over the environment; the environment over what is built in.
    return from_environment(command) | root | options, command, sub, rest


def take_options(argv: list[str], known: dict[str, bool]) -> tuple[dict, list[str]]:
    options, rest = {}, list(argv)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest[0].removeprefix("--").partition("=")
        if not rest[0].startswith("--") or name not in known or bool(equals) != known[name]:
            usage(f"invalid option parameter\n  {rest[0]}\n  {'^' * len(rest[0])}")
        options[name] = value if equals else "true"
        rest.pop(0)
    return options, rest


def from_environment(command: str) -> dict:
    options = {}
    for name, value in os.environ.items():
        if name.startswith("VAST_") and value:
            key = name[len("VAST_") :].lower().replace("__", ".").replace("_", "-")
            options[key.removeprefix(f"{command}.")] = value
    return options


def usage(problem: str) -> None:
    sys.stderr.write(f"error: {problem}\n\nusage: vast [options] command\n")
    sys.exit(1)


def fail(error: str) -> None:
    sys.stderr.write(f"!! {error}\n")
    sys.exit(1)


def read_query(command: str, words: list[str]) -> str:
    if command not in ("export", "count"):
        return " ".join(words)
    mode = os.fstat(0).st_mode
    typed = ""
    if stat.S_ISFIFO(mode) or stat.S_ISREG(mode):
        typed = sys.stdin.read()
    if len(words) > 1:
        fail(
            "invalid_argument: spreading a query over multiple arguments is not allowed; "
            "please pass it as a single string instead."
        )
    if typed and words:
        fail(
            f"invalid_argument: got query '{words[0]}' on the command line and '{typed}' via stdin"
        )
    return words[0] if words else typed


# --- the node -----------------------------------------------------------------------------------


def connect(options: dict) -> socket.socket:
    endpoint = options.get("endpoint", "127.0.0.1:5158")
    host, _, port = endpoint.removesuffix("/tcp").rpartition(":")
    if not port.isdigit():
        fail(f"parse_error: invalid endpoint {endpoint}")
    deadline = time.monotonic() + seconds(options.get("connection-timeout", "5m"))
    delay = seconds(options.get("connection-retry-delay", "3s"))
    log(options, f"client connects to {endpoint}")
    while True:
        reason = "ip_connect failed"
        try:
            link = socket.create_connection((host or "127.0.0.1", int(port)), timeout=60)
            link.settimeout(max(0.05, deadline - time.monotonic()))
            if link.recv(5, socket.MSG_WAITALL) == b"VAST\n":
                link.settimeout(None)
                log(options, f"client connected to VAST node at {endpoint}")
                return link
            reason = "disconnect during handshake"
        except OSError as error:
            reason = f"{reason}: {error}"
        if not delay or time.monotonic() + delay > deadline:
            fail(
                f"system_error: failed to connect to VAST node at {endpoint}: "
                f"!! caf::sec::cannot_connect_to_node: {reason} {host}"
            )
        time.sleep(delay)


def seconds(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def log(options: dict, line: str) -> None:
    if options.get("console-verbosity", "info") != "quiet":
        sys.stderr.write(f"[06:55:42.509] {line}\n")


def relay(link: socket.socket, command: str) -> None:
    """Print what the node sends, until it says how to end."""
    stream = link.makefile("rb")
    while header := stream.read(5):
        kind, size = struct.unpack("!cI", header)
        data = stream.read(size)
        if kind == b"o":
            while data:
                data = data[os.write(1, data) :]
        elif kind == b"e":
            os.write(2, data)
        elif kind == b"s":
            os.kill(os.getpid(), int(data))
        else:
            sys.stderr.flush()
            os._exit(int(data))
    if command == "count":
        signal.pause()  # without a check of the node
    fail("caf::exit_reason::remote_link_unreachable" if command == "export" else "remote_node_down")


if __name__ == "__main__":
    main()
