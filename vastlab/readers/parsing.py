"""Parses the next block of a file in another thread, while one is converted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from vastlab.readers.problems import Problems

MIN_SIZE = 1 << 18  # bytes of a block that is worth a thread
_AHEAD = 1  # blocks that are parsed, or are waiting for their conversion

_Item = TypeVar("_Item")
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class _Begun(Generic[_Item, _Parsed]):
    """An item that is parsed, or will be; and the problems before it."""

    item: _Item
    parsed: Future[_Parsed] | None
    problems: Problems


def parsed_ahead(
    items: Callable[[Problems], Iterator[_Item]],
    parse: Callable[[_Item], _Parsed],
    size: Callable[[_Item], int],
    problems: Problems,
) -> Iterator[tuple[_Item, _Parsed]]:
    """Yield items with what was parsed of them, in their order.

    A large item is yielded once the next one is there. Errors and problems of the items do not come
    before those of earlier ones.

    Parameters
    ----------
    items
        Returns the parts of a file, and reports problems to its argument.
    parse
        Parses one; may be called in another thread, and must not report problems.
    size
        Returns the number of bytes of one.
    problems
        Of the file; if they are strict, nothing is parsed ahead, since the first one is an error.
    """
    if problems.strict:
        yield from ((item, parse(item)) for item in items(problems))
        return
    found = Problems(keep=problems.keep)
    parts = items(found)
    begun: deque[_Begun[_Item, _Parsed]] = deque()
    damage: Exception | None = None

    def take() -> tuple[_Item, _Parsed]:
        first = begun.popleft()
        problems.absorb(first.problems)
        parsed = first.parsed
        return first.item, parse(first.item) if parsed is None else parsed.result()

    with ThreadPoolExecutor(1, "vastlab-parse") as pool:
        while True:
            try:
                item = next(parts)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001  # it is raised after the items before it
                damage = error
                break
            is_large = size(item) >= MIN_SIZE
            before = Problems(keep=problems.keep)
            before.absorb(found)
            begun.append(_Begun(item, pool.submit(parse, item) if is_large else None, before))
            while len(begun) > (_AHEAD if is_large else 0):
                yield take()
        while begun:
            yield take()
    problems.absorb(found)
    if damage is not None:
        try:
            raise damage
        finally:
            del damage  # its traceback holds this frame
