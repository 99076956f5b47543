"""YAML from files that anybody may have written: bounded in size, depth and repetition."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from vastlab.errors import ConfigError

LARGEST = 1 << 20
# What a document may be at most.
_DEEPEST, _LONGEST_NUMBER, _MOST_NODES = 50, 100, 1_000_000
_NUMBERS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))


def load(path: Path, what: str) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    what
        What the file holds, for messages: ``the settings``.

    Raises
    ------
    ConfigError
        The file cannot be read, is larger than 1 MiB, or is refused by `parse`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ConfigError(f"cannot read {what} in {path}: the file is larger than 1 MiB")
        return parse(data.decode())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"cannot read {what} in {path}: {reason}") from error


def parse(text: str) -> Any:
    """Read a document of YAML that may be hostile: in time and memory that its length bounds.

    Parameters
    ----------
    text
        The document.

    Raises
    ------
    yaml.YAMLError
        It is not YAML, or nested too deep, has numbers of more than a hundred characters, or
        aliases that repeat each other.

    Examples
    --------
    >>> parse("vast: {endpoint: logs}")
    {'vast': {'endpoint': 'logs'}}
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {})
        return loader.construct_document(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise yaml.YAMLError(f"a value that is none of its type: {error}") from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Reads YAML of limited depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth >= _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {_DEEPEST} levels deep",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # no types
            )
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _measure(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the nodes below one, those behind aliases each time; refuse too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_NODES  # until it is known: what contains itself is endless
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > _LONGEST_NUMBER and node.tag in _NUMBERS:
            raise _too_much("a number is too long", node)
        inner: Iterable[yaml.Node] = ()
    elif isinstance(node, yaml.MappingNode):
        inner = itertools.chain.from_iterable(node.value)
    else:
        inner = node.value
    known[id(node)] = number = 1 + sum(_measure(part, known) for part in inner)
    if number > _MOST_NODES:
        raise _too_much("aliases repeat too much", node)
    return number


def _too_much(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
