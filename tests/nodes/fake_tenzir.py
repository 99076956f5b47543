"""A program that answers like `tenzir`, from a list of answers beside it."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[0]).parent


def main() -> None:
    pipeline = sys.argv[-1]
    if sys.argv[-2] == "-f":
        pipeline = Path(pipeline).read_text(encoding="utf-8")
    with (FOLDER / "calls.jsonl").open("a") as calls:
        call = {"argv": sys.argv[1:], "pipeline": pipeline, "env": dict(os.environ)}
        calls.write(json.dumps(call | {"pid": os.getpid()}) + "\n")
    for pattern, answer in json.loads((FOLDER / "answers.json").read_text()):
        if re.search(pattern, pipeline):
            reply(answer, pipeline)


def reply(answer: dict, pipeline: str) -> None:
    if "wait_for" in answer:
        while not Path(answer["wait_for"]).exists():
            time.sleep(0.01)
    found = re.search(r'to_unix_socket "([^"]+)"', pipeline)
    for stream in answer.get("streams", ()):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(found[1])
            client.sendall(Path(stream).read_bytes())
    if "stdin_to" in answer:
        Path(answer["stdin_to"]).write_bytes(sys.stdin.buffer.read())
    sys.stdout.write(answer.get("stdout", ""))
    sys.stdout.flush()
    sys.stderr.write(answer.get("stderr", ""))
    sys.stderr.flush()
    if "signal" in answer:
        os.kill(os.getpid(), answer["signal"])
    time.sleep(answer.get("sleep", 0))
    sys.exit(answer.get("status", 0))


if __name__ == "__main__":
    main()
