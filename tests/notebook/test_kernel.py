"""The extension in a real kernel, over its sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient, KernelManager

import vastlab

pytestmark = pytest.mark.full
PATIENCE = 60


class Kernel:
    """A kernel with the extension loaded."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(Path(vastlab.__file__).parent.parent))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.run(f"%env VAST_ENDPOINT={folder}\n%load_ext vastlab")

    def run(
        self,
        code: str,
        *,
        on: Callable[[dict[str, Any]], None] | None = None,
        asked: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Run a cell; return its reply and everything that it showed."""
        shown: list[dict[str, Any]] = []

        def keep(message: dict[str, Any]) -> None:
            shown.append(message)
            if on is not None:
                on(message)

        reply = self.client.execute_interactive(
            code,
            timeout=PATIENCE,
            output_hook=keep,
            allow_stdin=asked is not None,
            stdin_hook=asked,
        )
        return reply["content"], shown

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(folder) -> Iterator[Kernel]:
    kernel = Kernel(folder)
    yield kernel
    kernel.close()


def _data(shown: list[dict[str, Any]], kind: str) -> list[str]:
    return [m["content"]["data"][kind] for m in shown if kind in m["content"].get("data", {})]


def test_a_magic_shows_html_and_text(kernel):
    """A query cell ends with both displays of its result."""
    reply, shown = kernel.run("%%vast -n 0\nresp_p >= 1")
    assert reply["status"] == "ok"
    assert "<details" in _data(shown, "text/html")[-1]
    assert "6 events in 2 schemas" in _data(shown, "text/plain")[-1]


ASK = "import vastlab, warnings\nvast = vastlab.connect()\nvast.query('nope == 1'){}"


@pytest.mark.parametrize("more", ["", ".num_rows", "\nvast.counts('nope == 1').sum()"])
def test_a_call_remarks_as_a_magic_does(kernel, more):
    """What is to be said about a question stands in the cell, each time, and not on stderr."""
    for _ in range(2):
        _, shown = kernel.run(ASK.format(more))
        said = [text for text in _data(shown, "text/html") if "no schema has a field nope" in text]
        assert said
        assert all(text.startswith('<div style="border-left:') for text in said)
        assert not [m for m in shown if m["msg_type"] == "stream"]


def test_other_warnings_take_their_usual_way(kernel):
    """What others warn of goes to stderr, and so does what vastlab says once it is unloaded."""
    _, shown = kernel.run("import warnings\nwarnings.warn('elsewhere')")
    assert any("elsewhere" in m["content"].get("text", "") for m in shown)
    unloaded = "filters = len(warnings.filters)\n%unload_ext vastlab\n"
    _, shown = kernel.run(unloaded + ASK.format("\nfilters - len(warnings.filters)"))
    assert [m for m in shown if m["msg_type"] == "stream" and "nope" in m["content"]["text"]]
    assert _data(shown, "text/plain")[-1] == "1"
    kernel.run("%load_ext vastlab")


def test_a_synchronous_call_in_an_asynchronous_cell(kernel):
    """The facade works where the kernel's own loop is running the cell."""
    reply, shown = kernel.run(
        "import asyncio, vastlab.connection\n"
        "await asyncio.sleep(0)\n"
        "with vastlab.connection.connect() as vast:\n"
        "    n = vast.count()\n"
        "n"
    )
    assert reply["status"] == "ok", reply
    assert _data(shown, "text/plain") == ["8"]


def test_an_error_fails_the_cell_with_an_error_output(kernel):
    """A wrong expression leaves an error output, of few lines, and the cell has failed."""
    reply, shown = kernel.run("%vast resp_p ==")
    (error,) = [m["content"] for m in shown if m["msg_type"] == "error"]
    assert reply["status"] == "error"
    assert error["ename"] == "ExpressionSyntaxError"
    assert len(error["traceback"]) <= 3


@pytest.mark.parametrize("option, name", [("-o kept", "kept"), ("", "_")])
def test_interrupt_ends_a_waiting_query(kernel, folder, option, name):
    """The kernel's interrupt ends a query that waits, keeps its part, and fails the cell."""
    waits = iter([True])

    def interrupt(message: dict[str, Any]) -> None:
        # The first display is the progress line: the query waits. Later ones show its part: an
        # interrupt then would hit a kernel that has gone on to end the cell.
        if message["msg_type"] == "display_data" and next(waits, False):
            kernel.manager.interrupt_kernel()

    reply, shown = kernel.run(f"%vast -m continuous -n 0 {option} -e {folder}", on=interrupt)
    assert (reply["status"], reply["ename"]) == ("error", "QueryInterrupted")
    assert any("partial: stopped after 0 events" in text for text in _data(shown, "text/plain"))
    _, shown = kernel.run(f"{name}.partial")
    assert _data(shown, "text/plain") == ["True"]
    _, shown = kernel.run("x = %vast resp_p == 4\nx.num_rows")
    assert _data(shown, "text/plain") == ["1"]


@pytest.mark.parametrize(
    "call, said",
    [
        ("vast.count()", "counting · "),
        ("vast.schemas()", "asking for the schemas · "),
        ("list(vast.export())", "0 events · "),
        ("vast.query()", "0 events · "),
    ],
)
def test_every_call_that_waits_says_so_and_can_be_interrupted(kernel, folder, call, said):
    """A call that hangs shows its line after a moment, and the kernel's interrupt ends it."""
    waits = iter([True])

    def interrupt(message: dict[str, Any]) -> None:
        if message["msg_type"] == "display_data" and next(waits, False):
            kernel.manager.interrupt_kernel()

    reply, shown = kernel.run(
        "import asyncio, vastlab\n"
        "async def hang(*_, **__):\n"
        "    await asyncio.Event().wait()\n"
        f"vast = vastlab.connect({str(folder)!r})\n"
        "vast._vast.counts = vast._vast.schemas = hang\n"
        "async def silent(*_, **__):\n"
        "    await hang()\n"
        "    yield\n"
        "vast._vast.run = silent\n" + call,
        on=interrupt,
    )
    assert (reply["status"], reply["ename"]) == ("error", "QueryInterrupted")
    assert _data(shown, "text/plain")[0].startswith(said)
    _, shown = kernel.run("vast.close(); 5")
    assert _data(shown, "text/plain") == ["5"]


def test_a_click_while_the_kernel_is_busy(kernel):
    """A click on Run during a cell is not lost, and asks once the cell is done."""
    _, shown = kernel.run(
        "from vastlab.notebook import QueryBox\n"
        "box = QueryBox(expression='resp_p >= 1', limit=0)\n"
        "print(box._button.comm.comm_id)"
    )
    (comm,) = (m["content"]["text"].strip() for m in shown if m["msg_type"] == "stream")

    def click(request: dict[str, Any]) -> None:
        """Answer the cell, which waits for input, but click first."""
        data = {"method": "custom", "content": {"event": "click"}}
        message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        kernel.client.shell_channel.send(message)
        kernel.client.input("go on")

    reply, shown = kernel.run("input()\nbox.running, box.history, box.result", asked=click)
    assert reply["status"] == "ok", reply
    assert _data(shown, "text/plain") == ["(False, (), None)"]
    _, shown = kernel.run("box.wait()\nbox.history, box.result.num_rows, box.error")
    assert _data(shown, "text/plain") == ["(('resp_p >= 1',), 6, '')"]


def test_asyncio_is_left_unpatched(kernel):
    """Loading and using the extension changes nothing in asyncio or in the kernel's loop."""
    _, shown = kernel.run(
        "import asyncio\n"
        "%vast resp_p == 4;\n"
        "(asyncio.run.__module__, asyncio.Task.__module__, "
        "type(asyncio.get_running_loop()).run_until_complete.__module__)"
    )
    assert (
        _data(shown, "text/plain")[-1] == "('asyncio.runners', '_asyncio', 'asyncio.base_events')"
    )


def test_two_kernels_share_a_database(kernel, folder):
    """A second kernel asks the same database while the first one has it open."""
    other = Kernel(folder)
    try:
        for each in (kernel, other, kernel):
            _, shown = each.run("x = %vast -n 0 resp_p >= 0\nx.num_rows")
            assert _data(shown, "text/plain")[-1] == "8"
    finally:
        other.close()


def test_restart_in_the_middle_of_a_query(folder):
    """A kernel that is restarted while a query waits comes back, and answers."""
    kernel = Kernel(folder)
    try:
        waiting = f"%vast -m continuous -n 0 -e {folder}"
        kernel.client.execute(waiting)
        while kernel.client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "display_data":
            pass
        kernel.manager.restart_kernel(now=False)
        kernel.client.wait_for_ready(timeout=PATIENCE)
        _, shown = kernel.run(
            f"%env VAST_ENDPOINT={folder}\n%load_ext vastlab\nx = %vast resp_p == 4\nx.num_rows"
        )
        assert _data(shown, "text/plain")[-1] == "1"
    finally:
        kernel.close()


def test_unload_leaves_a_kernel_that_works(folder):
    """After unloading there is no magic, and loading again brings it back."""
    kernel = Kernel(folder)
    try:
        kernel.run("%vast resp_p == 4")
        reply, _ = kernel.run("%reload_ext vastlab\n%unload_ext vastlab")
        assert reply["status"] == "ok"
        _, shown = kernel.run("%vast resp_p == 4")
        assert any("not found" in str(message["content"]) for message in shown)
        _, shown = kernel.run("%load_ext vastlab\nx = %vast resp_p == 4\nx.num_rows")
        assert _data(shown, "text/plain")[-1] == "1"
    finally:
        kernel.close()


def test_completion_over_the_sockets(kernel):
    """The kernel completes fields in line and cell magics once it knows the node."""
    for code in ("%vast id.or", "%%vast -n 5\nid.or"):
        matches: list[str] = []
        while "id.orig_h" not in matches:  # the catalogue is fetched in the background
            reply = kernel.client.complete(code, reply=True, timeout=PATIENCE)
            matches = reply["content"]["matches"]
        assert matches == ["id.orig_h"]
