"""Parses the next blocks of a file in other threads, while one is converted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vastlab.errors import FormatError
from vastlab.readers.problems import Problems

MIN_SIZE = 1 << 18  # bytes of a block that is worth a thread
_AHEAD = 1  # blocks that are parsed or wait for it
_THREADS = 1

_Item = TypeVar("_Item")
_Parsed = TypeVar("_Parsed")


def parsed_ahead(
    items: Iterator[_Item],
    parse: Callable[[_Item], _Parsed],
    size: Callable[[_Item], int],
    problems: Problems,
) -> Iterator[tuple[_Item, _Parsed]]:
    """Yield items with what was parsed of them, in their order.

    Parameters
    ----------
    items
        Parts of a file. A `FormatError` that they raise comes after those before it.
    parse
        Parses one; may be called in another thread, and must not report problems.
    size
        Returns the number of bytes of one.
    problems
        Of the file; if they are strict, nothing is read ahead, since the first one is an error.
    """
    if problems.strict:
        yield from ((item, parse(item)) for item in items)
        return
    waiting: deque[tuple[_Item, Future[_Parsed] | None]] = deque()
    damage = None
    with ThreadPoolExecutor(_THREADS, "vastlab-parse") as pool:
        try:
            while True:
                try:
                    item = next(items)
                except StopIteration:
                    break
                except FormatError as error:
                    damage = error
                    break
                is_large = size(item) >= MIN_SIZE
                waiting.append((item, pool.submit(parse, item) if is_large else None))
                while len(waiting) > (_AHEAD if is_large else 0):
                    yield _take(waiting, parse)
            while waiting:
                yield _take(waiting, parse)
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()
    if damage is not None:
        raise damage


def _take(
    waiting: deque[tuple[_Item, Future[_Parsed] | None]], parse: Callable[[_Item], _Parsed]
) -> tuple[_Item, _Parsed]:
    item, future = waiting.popleft()
    return item, parse(item) if future is None else future.result()
