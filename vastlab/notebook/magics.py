"""The magics ``%vast`` and ``%%vast``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.display import display

from vastlab import errors
from vastlab.config import Endpoint, resolve_endpoint
from vastlab.connection import Connection
from vastlab.expression import parse_query
from vastlab.expression.parameters import names
from vastlab.notebook import options
from vastlab.notebook.notes import Line, Note, warnings_shown
from vastlab.notebook.options import Options
from vastlab.result import Result


@magics_class
class VastMagics(Magics):  # type: ignore[misc]  # IPython carries no type information
    """The magics of one shell, and the connections that they opened."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._connections: dict[Endpoint, Connection] = {}

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython carries no type information
    @needs_local_scope  # type: ignore[untyped-decorator]
    @line_cell_magic  # type: ignore[untyped-decorator]
    def vast(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Result | Note | None:
        """Ask VAST: options first, then the expression. ``%vast -h`` lists the options."""
        asked = options.parse(line, cell)
        if asked.help:
            return Note(options.usage())
        result = self._query(asked, {**self.shell.user_ns, **(local_ns or {})})
        if asked.out is not None:
            self.shell.user_ns[asked.out] = result
            return None if asked.hidden else Line(f"{asked.out} = {result.line()}")
        return None if asked.hidden else result

    def connection(self, endpoint: str | None = None) -> Connection:
        """Return the connection to an endpoint, the same one each time.

        Parameters
        ----------
        endpoint
            As in `vastlab.connect`.
        """
        resolved = resolve_endpoint(endpoint)
        if resolved not in self._connections:
            self._connections[resolved] = Connection(endpoint)
        return self._connections[resolved]

    def close(self) -> None:
        """Close all connections."""
        while self._connections:
            _, connection = self._connections.popitem()
            connection.close()

    def _query(self, asked: Options, namespace: Mapping[str, Any]) -> Result:
        wanted = names(parse_query(asked.expression))
        try:
            with warnings_shown():
                return self.connection(asked.endpoint).query(
                    asked.expression,
                    limit=asked.limit,
                    mode=asked.mode,
                    since=asked.since,
                    until=asked.until,
                    timeout=asked.timeout,
                    params={name: namespace[name] for name in wanted if name in namespace},
                    quiet=asked.quiet,
                )
        except errors.QueryInterrupted as interrupt:
            if asked.out is not None:
                self.shell.user_ns[asked.out] = interrupt.partial
            display(interrupt.partial)
            raise


def without_body(lines: list[str]) -> list[str]:
    """Let ``%%vast -h`` work in a cell that has no body, which IPython would refuse.

    Examples
    --------
    >>> without_body(["%%vast -h"])
    ['%vast -h']
    """
    head, *body = lines or [""]
    if head.startswith("%%vast") and head[6:7].strip() == "" and not "".join(body).strip():
        return [head[1:]]
    return lines
