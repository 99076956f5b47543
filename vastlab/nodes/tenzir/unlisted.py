"""Events of layouts that the catalog of a Tenzir node does not list.

A node lists a layout when it writes a partition, half a minute after its first event. No
condition can be written for what is not listed: such events are asked for whole and filtered
here. Nulls do not come along on the way, so a field without any value is not known meanwhile.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from vastlab.compile import tql
from vastlab.nodes.tenzir.catalog import Catalog
from vastlab.nodes.tenzir.conditions import any_of, is_of, later, unknown


@dataclass(frozen=True, slots=True)
class Unlisted:
    """How to set these events apart: the names of their schemas begin with a mark.

    Parameters
    ----------
    recent
        The condition that holds for events that may not be stored. Others have a layout
        that is listed.
    listed
        The condition that holds for events of a listed layout.
    mark
        What the names begin with.
    """

    recent: str
    listed: str
    mark: str

    @classmethod
    def of(cls, catalog: Catalog) -> Unlisted:
        """Write the conditions for what a catalog does not list."""
        recent = any_of([
            *(later(name, catalog.stored.get(name)) for name in sorted(catalog.names)),
            unknown(catalog.names),
        ])  # fmt: skip
        listed = any_of(is_of(layout) for layout in catalog.layouts)
        # Nobody can know the mark, so no event can pass for one that has it.
        return cls(recent or "true", listed or "false", f"vastlab_{secrets.token_hex(8)}.")

    @property
    def prefix(self) -> str:
        """The mark as a text in a pipeline."""
        return tql.quote(self.mark)

    def beside(self, condition: str | None) -> list[str]:
        """Write the steps that select what satisfies a condition, and all that is not listed."""
        return [
            # The node's catalog makes use of this one alone.
            f"where {any_of([condition, self.recent])}",
            self._marking(),
            f"where {any_of([condition, self._is_marked()])}",
        ]

    def without(self, condition: str) -> list[str]:
        """Write the steps that select what satisfies a condition and is listed."""
        return [f"where {condition}", self._marking(), f"where not {self._is_marked()}"]

    def alone(self) -> list[str]:
        """Write the steps that select what is not listed."""
        return self.beside(None)

    def name(self, found: str) -> str | None:
        """Return the name without the mark; ``None`` for one without it."""
        return found.removeprefix(self.mark) if found.startswith(self.mark) else None

    def _marking(self) -> str:
        # What is stored is not looked at more closely: that would take long.
        is_listed = f"(({self.listed}) if ({self.recent}) else true)"
        return f"@name = @name if {is_listed} else ({self.prefix} + @name)"

    def _is_marked(self) -> str:
        return f"@name.starts_with({self.prefix})"
