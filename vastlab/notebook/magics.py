"""The magics `%vast`, `%%vast` and their relatives."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import traitlets
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.display import display

from vastlab import _text, errors, queries
from vastlab._text import plural
from vastlab.compile.sql import parameters
from vastlab.config import Settings, resolve_endpoint
from vastlab.connection import Connection
from vastlab.endpoints import Endpoint, is_bare_host
from vastlab.expression.ast import FieldExtractor
from vastlab.expression.parameters import names
from vastlab.notebook import arguments, live, options, overviews
from vastlab.notebook.notes import Line, Note, warnings_shown
from vastlab.notebook.options import Options
from vastlab.result import Result
from vastlab.types import Schema

_OF_EVENTS = ("live", "explore", "mode", "newest", "per_schema", "quiet")


def _none() -> None:
    """Return no connection: only what is opened later is newer than ``%vast_use``."""


def open_view(
    connection: Connection, asked: Options, params: Mapping[str, object]
) -> live.LiveView:
    """Open a view of events as they come, and start it in the background."""
    if asked.timeout is not None:
        raise errors.UsageError("--live takes no --timeout", hint="stop the view instead")
    if asked.newest or asked.per_schema:
        option = "--newest" if asked.newest else "--per-schema"
        raise errors.UsageError(f"--live takes no {option}", hint="it shows what comes as it comes")
    return live.LiveView(
        connection,
        asked.expression,
        asked.mode or "unified",
        asked.limit or 0,
        since=asked.since,
        until=asked.until,
        params=params,
    )


def _reported(call: Callable[..., Any]) -> Callable[..., Any]:
    """Let an error show its whole traceback where the user wants that."""

    @functools.wraps(call)
    def reported(self: VastMagics, *args: Any, **named: Any) -> Any:
        try:
            return call(self, *args, **named)
        except errors.VastlabError as error:
            if self.tracebacks:
                _show_in_full(error, self.shell)
            raise

    return reported


def _show_in_full(error: errors.VastlabError, shell: Any) -> None:
    def render() -> Any:
        return shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)

    vars(error)["_render_traceback_"] = render


@magics_class
class VastMagics(Magics):  # type: ignore[misc]  # IPython carries no type information
    """The magics of one shell, and the connections that they opened."""

    tracebacks = traitlets.Bool(False, help="Show whole tracebacks instead of one line.").tag(
        config=True
    )

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._connections: dict[Endpoint, Connection] = {}
        self._used: str | None = None
        self._since_use = Connection.newest
        self._before: tuple[str | None, Callable[[], Connection | None]] | None = None

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython carries no type information
    @needs_local_scope  # type: ignore[untyped-decorator]  # IPython has no types
    @line_cell_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask VAST: options first, then the expression. ``%vast -h`` lists the options."""
        asked = options.parse(line, cell)
        if asked.help:
            return Note(options.usage())
        wanted = names(arguments.parsed(asked.expression))
        return self._answer(asked, arguments.params_of(asked, wanted, self._variables(local_ns)))

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @needs_local_scope  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_run(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Ask a saved query: ``%vast_run [options] NAME parameter=value ...``."""
        asked = options.parse(line)
        saved = queries.load()
        if asked.help or not asked.expression:
            listed = "\n".join(map(queries.describe, saved.values()))
            nothing = f"there are no saved queries: put some in {queries.FILE}"
            usage = "%vast_run [options] NAME parameter=value ..."
            shown = options.usage(usage) if asked.help else usage
            return Note(f"{shown}\n\n{listed or nothing}")
        name, *given = arguments.words(asked.expression)
        query = queries.find(name, saved)
        namespace = self._variables(local_ns)
        values = arguments.from_files(asked, [parameter.name for parameter in query.parameters])
        params = query.values(values | dict(arguments.given(word, namespace) for word in given))
        return self._answer(replace(asked, expression=query.expression), params)

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_use(self, line: str) -> Note:
        """Use a profile of ``vast.yaml``, or an endpoint, from now on; alone, list profiles.

        ``%vast_use -`` goes back to what was asked before.
        """
        name = line.strip()
        settings = Settings.load()
        if name == "-":
            self._go_back()
        elif name:
            _chosen(name, settings)
            self._use(name)
        profiles = [f"  {each}  {_bare(settings.profiles[each])}" for each in settings.profiles]
        listed = [] if name else (profiles or ["  no profiles under vastlab: in vast.yaml"])
        return Note("\n".join([f"using {self._usage()}", *listed]))

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_status(self, line: str) -> Note:
        """Say what is asked, how it is, and which live views run: ``%vast_status``."""
        if line.strip():
            raise errors.UsageError(f"%vast_status takes nothing, not {line.strip()!r}")
        views = [f"live: {view!r}" for view in live.running()]
        shown = overviews.status(self.connection().status())
        return Note("\n".join([f"using {self._usage()}", *views, shown]))

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_schemas(self, line: str) -> Note:
        """List schemas and their fields: ``%vast_schemas``, ``%vast_schemas zeek.*``."""
        pattern = line.strip()
        connection = self.connection()
        schemas = connection.schemas()
        if not pattern:
            shown = overviews.schemas(schemas, connection.status(), connection.zone)
            return Note(shown or "there are no events")
        found = [name for name in schemas if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise errors.UsageError(
                f"no schema matches {pattern!r}",
                hint=_text.did_you_mean(pattern, schemas, "%vast_schemas lists all"),
            )
        return Note("\n".join(_described(schemas[name]) for name in found))

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @needs_local_scope  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_top(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Count the values of a field: ``%vast_top FIELD [by=sum(FIELD)] [EXPRESSION]``."""
        asked = options.parse(line)
        if asked.help:
            usage = "%vast_top [options] FIELD [by=sum(FIELD)] [EXPRESSION]"
            return Note(options.usage(usage, _OF_EVENTS, limit="at most N values (20; 0 for all)"))
        field, asked = arguments.first_word(asked, "%vast_top id.orig_h resp_p == 443")
        asked, given = arguments.assigned(asked)
        if unknown := sorted(given.keys() - {"by"}):
            raise errors.UsageError(f"%vast_top has no {unknown[0]}", hint="by=sum(orig_bytes), -n")
        call = functools.partial(
            Connection.top,
            field=field,
            n=arguments.limit_of(asked, 20),
            by=given.get("by", "events"),
        )
        return self._summary(asked, call, local_ns)

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @needs_local_scope  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_timeline(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Count events over time: ``%vast_timeline [options] [every=1h] [EXPRESSION]``."""
        asked, given = arguments.assigned(options.parse(line))
        if asked.help:
            usage = "%vast_timeline [options] [every=1h] [by=FIELD] [EXPRESSION]"
            return Note(options.usage(usage, (*_OF_EVENTS, "limit")))
        if asked.limit is not None:
            raise errors.UsageError("%vast_timeline takes no limit", hint="every=1d has fewer rows")
        if unknown := sorted(given.keys() - {"every", "by"}):
            raise errors.UsageError(f"%vast_timeline has no {unknown[0]}", hint="every=, by=")
        every, by = given.get("every"), given.get("by", "#type")
        call = functools.partial(Connection.timeline, every=every, by=by)
        return self._summary(asked, call, local_ns)

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @needs_local_scope  # type: ignore[untyped-decorator]  # IPython has no types
    @line_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_summarize(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Group events: ``%vast_summarize by=FIELD,FIELD every=1h NAME=sum(FIELD) EXPRESSION``."""
        asked, given = arguments.assigned(options.parse(line))
        if asked.help:
            usage = "%vast_summarize [options] by=FIELD,FIELD every=1h NAME=sum(FIELD) [EXPRESSION]"
            return Note(options.usage(usage, _OF_EVENTS, limit="at most N groups (0 for all)"))
        every, by = given.pop("every", None), given.pop("by", "")
        call = functools.partial(
            Connection.summarize,
            by=[field for field in by.split(",") if field],
            every=every,
            limit=arguments.limit_of(asked, 0),
            aggregates=given,
        )
        return self._summary(asked, call, local_ns)

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython has no types
    @needs_local_scope  # type: ignore[untyped-decorator]  # IPython has no types
    @line_cell_magic  # type: ignore[untyped-decorator]  # IPython has no types
    @_reported
    def vast_sql(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask in SQL: ``%%vast_sql [options] [EXPRESSION]``, and the statement below."""
        asked = options.parse(line)
        if asked.help:
            usage = "%%vast_sql [options] [EXPRESSION]\nselect ... from zeek.conn"
            return Note(options.usage(usage, (*_OF_EVENTS, "limit")))
        statement = cell
        if statement is None:
            statement, asked = asked.expression, replace(asked, expression="")
        if asked.limit is not None:
            raise errors.UsageError("%%vast_sql takes no -n", hint="write limit in the statement")
        call = functools.partial(Connection.sql, statement=statement)
        return self._summary(asked, call, local_ns, also=parameters(statement))

    def connection(self, endpoint: str | None = None, profile: str | None = None) -> Connection:
        """Return the connection to an endpoint or a profile, the same one each time.

        Without either, the newest of ``%vast_use`` and `vastlab.connect`.
        """
        if endpoint is None and profile:
            endpoint = Settings.load().profile(profile)
        elif endpoint is None:
            opened = self._opened()
            if opened is not None:
                return opened
            endpoint = self.in_use()
        resolved = resolve_endpoint(endpoint)
        if resolved not in self._connections:
            self._connections[resolved] = Connection(endpoint)
        return self._connections[resolved]

    def in_use(self) -> str | None:
        """Return the endpoint of ``%vast_use``."""
        return _chosen(self._used, Settings.load()) if self._used else None

    def close(self) -> None:
        """Close all connections."""
        while self._connections:
            _, connection = self._connections.popitem()
            connection.close()

    def _variables(self, local_ns: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the user's variables, also those of a function that runs a magic."""
        return {**self.shell.user_ns, **(local_ns or {})}

    def _answer(self, asked: Options, params: Mapping[str, object]) -> Any:
        if asked.explore:
            box = self._explorer(asked, params)
            return self._answer_with(asked, box, repr(box).partition("\n")[0])
        if asked.live:
            view = open_view(self.connection(asked.endpoint, asked.profile), asked, params)
            return self._answer_with(asked, view, repr(view))
        result = self._query(asked, params)
        return self._answer_with(asked, result, result.line())

    def _explorer(self, asked: Options, params: Mapping[str, object]) -> Any:
        for flag in ("live", "timeout", "newest", "per_schema"):
            if getattr(asked, flag):
                raise errors.UsageError(f"--explore takes no --{flag.replace('_', '-')}")
        if (asked.mode or "historical") != "historical":
            raise errors.UsageError("--explore shows what is stored", hint="--live shows the rest")
        return self.connection(asked.endpoint, asked.profile).explore(
            asked.expression,
            limit=100 if asked.limit is None else asked.limit,
            since=asked.since,
            until=asked.until,
            params=params,
        )

    def _answer_with(self, asked: Options, value: Any, line: str) -> Any:
        if asked.out is None:
            return None if asked.hidden else value
        self.shell.user_ns[asked.out] = value
        return None if asked.hidden else Line(f"{asked.out} = {line}")

    def _query(self, asked: Options, params: Mapping[str, object]) -> Result:
        try:
            with warnings_shown():
                return self.connection(asked.endpoint, asked.profile).query(
                    asked.expression,
                    limit=100 if asked.limit is None else asked.limit,
                    mode=asked.mode or "historical",
                    order="newest" if asked.newest else "oldest",
                    per_schema=asked.per_schema,
                    since=asked.since,
                    until=asked.until,
                    timeout=asked.timeout,
                    params=params,
                    quiet=asked.quiet,
                )
        except errors.QueryInterrupted as interrupt:
            display(interrupt.partial)
            interrupt.hint = self._kept(asked, interrupt.partial)
            raise

    def _summary(
        self,
        asked: Options,
        call: Callable[..., Any],
        local_ns: Mapping[str, Any] | None,
        also: Sequence[str] = (),
    ) -> Any:
        unused = [flag for flag in _OF_EVENTS if getattr(asked, flag)]
        if unused:
            option = unused[0].replace("_", "-")
            raise errors.UsageError(f"a summary takes no --{option}", hint="only %vast does")
        wanted = [*names(arguments.parsed(asked.expression)), *also]
        params = arguments.params_of(asked, wanted, self._variables(local_ns))
        with warnings_shown():
            frame = call(
                self.connection(asked.endpoint, asked.profile),
                expression=asked.expression,
                since=asked.since,
                until=asked.until,
                params=params,
                timeout=asked.timeout,
            )
        return self._answer_with(asked, frame, plural(len(frame), "row"))

    def _kept(self, asked: Options, partial: Result) -> str:
        """Let a name have what arrived before an interrupt, and say which one."""
        hook = self.shell.displayhook
        if asked.out is not None:
            self.shell.user_ns[asked.out] = partial
        else:
            # A cell that fails has no output. Who just sets `_` would keep IPython from doing so.
            hook.update_user_ns(partial)
        # A loop over `_` makes it a variable of the user's, which IPython leaves alone.
        names = [asked.out] if asked.out else ["_", f"_{hook.prompt_count}"]
        found = [name for name in names if self.shell.user_ns.get(name) is partial]
        return f"what had arrived is in {found[0]}" if found else "-o NAME keeps what arrives"

    def _use(self, name: str | None, newest: Callable[[], Connection | None] = _none) -> None:
        """Ask a profile or an endpoint, until another connection than `newest` is opened."""
        self._before = self._used, Connection.newest
        self._used, self._since_use = name, newest
        Connection.newest = staticmethod(newest)

    def _go_back(self) -> None:
        """Use what was used before, which a second call undoes, as ``cd -`` does."""
        if Connection.newest is not self._since_use and self._opened() is not None:
            self._use(self._used, self._since_use)  # a connection was opened since
        elif self._before is not None:
            self._use(*self._before)
        else:
            raise errors.UsageError(
                "nothing else was used before", hint="%vast_use NAME uses an endpoint or a profile"
            )

    def _opened(self) -> Connection | None:
        """Return the connection that was opened since ``%vast_use``, if it is still open."""
        newest = Connection.newest()
        return None if newest is None or newest.closed else newest

    def _usage(self) -> str:
        endpoint = self.connection().endpoint
        is_profile = self._opened() is None and self._used in Settings.load().profiles
        return f"{endpoint} (profile {self._used})" if is_profile else endpoint


def _chosen(name: str, settings: Settings) -> str:
    """Return the endpoint that is to be used; a profile of that name comes first."""
    spelled = ":" in name or "/" in name or is_bare_host(name)
    is_known = name in settings.profiles or name in settings.refused
    is_endpoint = not is_known and (spelled or os.path.exists(name))
    return name if is_endpoint else settings.profile(name)


def _described(schema: Schema) -> str:
    """List the fields of a schema as an expression names them."""
    fields = {str(FieldExtractor(name)): kind for name, kind in schema.types_by_name.items()}
    width = max(map(len, fields), default=0)
    lines = (f"  {name:{width}}  {_text.plain(kind)}" for name, kind in fields.items())
    return "\n".join([_text.plain(schema.name), *lines])


def _bare(endpoint: str) -> str:
    """Leave out user names and passwords."""
    return re.sub(r"//[^/@]*@", "//", endpoint)
