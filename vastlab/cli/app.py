"""The program: what all commands share, and its help.

A command is a function with ``@app.command``: its annotated parameters are the arguments and
options, its docstring is the help, and it returns the exit code. Command functions import large
modules themselves, so that help, completion and wrong usage need neither pandas nor the query
engine.
"""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import App, Group, Parameter

from vastlab.cli.options import Endpoint
from vastlab.errors import UsageError

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions
    from rich.text import Text


ALONE = ContextVar("ALONE", default=False)
"""Whether nothing else runs in this process, so that a command may do without a library."""


def _version() -> str:
    from importlib import metadata

    try:
        return f"vastlab {metadata.version('vastlab')}"
    except metadata.PackageNotFoundError:  # run from its source, as the tests may do
        return "vastlab (not installed)"


class _PlainHelp:
    """Writes help as titles above two aligned columns, without boxes."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Write one group of options, arguments or commands."""
        from cyclopts.help import DescriptionRenderer  # here, since only help needs it
        from rich.table import Table
        from rich.text import Text

        if not panel.entries:
            return
        describe = DescriptionRenderer()
        table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
        table.add_column(width=_NAMES)
        for entry in panel.entries:
            names = ", ".join((*entry.positive_shorts, *entry.positive_names))
            label = entry.positional_label or " ".join(filter(None, (names, entry.metavar)))
            table.add_row(Text(label), describe(entry))
        console.print(Text(f"{panel.title}:", "bold"))
        console.print(table)
        console.print()

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Text) -> None:
        """Write how the command is called."""
        from rich.text import Text

        console.print(Text.assemble(("Usage: ", "bold"), usage))


app = App(
    name="vastlab",
    help="Explore security telemetry in a folder of logs, a database or a node.",
    help_format="plaintext",
    help_formatter=_PlainHelp(),
    help_epilogue="""\
Examples:
  vastlab query -e demo: 'resp_p == 443 && orig_bytes > 1Mi'
  vastlab count -e logs/ --schemas 10.1.4.17
  vastlab import -e case.db logs/*.gz

All commands take -e ENDPOINT, before or after their name: demo:, a database or
a folder of logs, or host:port of a node. Without it: VAST_ENDPOINT, then
vast.endpoint in ./vast.yaml and in your own vast.yaml.

Quote expressions for the shell. `vastlab COMMAND --help` shows the options of
a command.
""",
    version=_version,
    version_format="plaintext",
    default_parameter=Parameter(
        negative=(), allow_repeating=True, show_default=lambda default: default or None
    ),
    group_arguments=Group("Arguments", sort_key=1),
    group_parameters=Group("Options", sort_key=2),
    group_commands=Group("Other options", sort_key=9),
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False
app.register_install_completion_command(
    help="Install completion for bash, zsh or fish, and load it in the shell's startup file.",
)

_NAMES = 26  # columns for the names of options in help
QUERIES = Group("Queries", sort_key=1)
DATABASES = Group("Databases", sort_key=2)
PROGRAMS = Group("Programs", sort_key=3)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    # Not shown: zsh completes nothing behind an option that both the program and a command have.
    endpoint: Annotated[Endpoint, Parameter(show=False)] = None,
    traceback: Annotated[bool, Parameter(show=False)] = False,
) -> int:
    """Run the command that is named, with the endpoint that is named before or after it."""
    if not tokens:
        commands = ", ".join(name for name in app if not name.startswith("-"))
        raise UsageError("no command", hint=f"one of {commands}; --help says more")
    command, bound, _ = app.parse_args(tokens)
    if "endpoint" in bound.signature.parameters:
        bound.arguments.setdefault("endpoint", endpoint)
    result = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(result):
        import asyncio  # here, since neither help nor wrong usage needs it

        result = asyncio.run(result)
    return cast("int", result)
