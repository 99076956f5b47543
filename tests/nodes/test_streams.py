"""What a child sends over the private socket arrives whole, or is an error."""

from __future__ import annotations

import io
import socket
import stat
import threading

import pyarrow as pa
import pytest

from vastlab.errors import NodeError
from vastlab.nodes.process import StreamServer


def stream_of(*columns):
    """Write one batch for each list of numbers, as one Arrow stream."""
    sink = io.BytesIO()
    batches = [pa.RecordBatch.from_pydict({"n": column}) for column in columns]
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def send(server, data):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(data)


def numbers(batches):
    return sorted(n for batch in batches if batch is not None for n in batch["n"].to_pylist())


@pytest.fixture
def server():
    before = set(threading.enumerate())
    server = StreamServer()
    yield server
    server.close()
    assert not server.folder.exists()
    assert set(threading.enumerate()) <= before


def test_only_this_user_can_enter_the_folder(server):
    """Nobody else can connect, or read the query that lies beside the socket."""
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


def test_streams_of_several_connections_arrive(server):
    """Each connection is a stream of its own; all of their batches arrive."""
    for start in range(3):
        send(server, stream_of([start * 10], [start * 10 + 1]))
    server.finish()
    assert numbers(server.batches()) == [0, 1, 10, 11, 20, 21]


def test_connections_that_nobody_has_accepted_yet_are_not_lost(server):
    """A program that connects, writes and ends at once is heard to its end."""
    for number in range(8):
        send(server, stream_of([number]))
    finishing = threading.Thread(target=server.finish)
    finishing.start()
    assert numbers(server.batches()) == list(range(8))
    finishing.join()


@pytest.mark.parametrize("kept", [5, 100, 300])
def test_a_stream_that_is_cut_short_is_an_error(server, kept):
    """A stream that ends within a message never passes for a whole one."""
    whole = stream_of([1, 2, 3])
    assert len(whole) > kept
    send(server, whole[:kept])
    server.finish()
    with pytest.raises(NodeError, match="cut short"):
        list(server.batches())


def test_what_came_before_the_cut_arrives(server):
    """The batches in front of the damage are handed on before the error."""
    whole = stream_of([1, 2], [3, 4])
    send(server, whole[:-40])
    server.finish()
    seen = []
    with pytest.raises(NodeError):
        for batch in server.batches():
            seen.append(batch)  # noqa: PERF402 - what came before the error counts
    assert numbers(seen) == [1, 2]


def test_a_connection_without_a_byte_misses_nothing(server):
    """Programs connect more than once when they are in a hurry."""
    send(server, b"")
    send(server, stream_of([7]))
    server.finish()
    assert numbers(server.batches()) == [7]


def test_a_lull_is_told(server):
    """When nothing comes for a moment, the reader learns of it once, and waits on."""
    send(server, stream_of([1]))
    batches = server.batches()
    assert next(batches) is not None
    assert next(batches) is None
    send(server, stream_of([2]))
    assert numbers([next(batches)]) == [2]


def test_discarding_ends_the_reader_and_keeps_the_writer_going(server):
    """A writer of more than fits is not held up by a reader that has left."""
    batches = server.batches()
    writer = threading.Thread(
        target=send, args=(server, stream_of(*([number] for number in range(2000))))
    )
    writer.start()
    next(batches)
    server.discard()
    writer.join()
    assert all(batch is not None for batch in batches)


def test_closing_ends_connections_that_are_still_open(server):
    """A child that neither writes nor leaves holds nothing up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(stream_of([1])[:50])
        server.close()
        assert client.recv(1) == b""


def test_closing_twice_does_nothing_more(server):
    """What ends a query may come from two sides."""
    server.close()
    server.close()
    assert list(server.batches()) == []
