"""Events written by attackers, in a real page: nothing runs, nothing is hidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import hostile
from tests.browser.completing import known

_DRAWN_BY_THEM = "script, img[src='x'], a[href^='javascript']"
_HIDDEN = """() => [...document.querySelectorAll('.jp-Notebook *')].flatMap(one => [
    one.getAttribute('title'), one.getAttribute('aria-label'), one.getAttribute('placeholder'),
    one.tagName === 'OPTION' ? one.value : null,
]).filter(Boolean).join('\\n')"""
_OUTPUTS = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells
    return cells.map(cell => cell.outputs ?? [])
}"""


class Made(NamedTuple):
    """What there is to look at."""

    database: Path
    logs: dict[str, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("hostile")
    return Made(hostile.database(folder), hostile.logs(folder))


def _load(made: Made) -> str:
    return (
        "%load_ext vastlab\nimport vastlab\n"
        f"folder, evil, file = {str(made.database)!r}, {hostile.EVIL!r}, {hostile.FILE!r}\n"
        f"logs = { {name: str(path) for name, path in made.logs.items()}!r}\n"
        "vast = vastlab.connect(folder)\nresult = vast.query(limit=0)\nnames = list(result)"
    )


_RESULTS = (
    "result",
    "print(repr(result))",
    "for name in names: display(result.show(name))",
    "result.tabs()",
    "result.summary()",
    "result.where('text == $x', params={'x': evil[0]})",
    "result.pivot('text')",
    "vast",
    "print(vast.explain('text == $x', params={'x': evil[3]}))",
    "vast.schemas()",
    "%vast -e $folder",
)
_MAGICS = (
    "import os\nos.environ['VAST_ENDPOINT'] = folder",
    "%vast -n 0",
    "%vast -o kept text == $file",
    "%vast_schemas",
    "%vast_schemas *src=x*",
    "%vast_status",
    "%vast_use",
    "import pathlib, json\npathlib.Path('queries.yaml').write_text(json.dumps([\n"
    "    {'name': 'kept', 'description': evil[0] + evil[3] + evil[4], 'expression': 'text == $x',\n"
    "     'params': {'x': {'type': 'string', 'default': evil[3]}}}]))",
    "%vast_run",
    "%vast_run kept",
    "vast.queries",
    "vast.queries.kept",
)
_PICTURES = (
    "result.timeline()",
    "result.timeline(by='text')",
    "result.top('text')",
    "result.graph()",
)
_WIDGETS = (
    "from vastlab.notebook import QueryBox\n"
    "from vastlab.notebook.live import LiveView\n"
    "from vastlab.notebook.widgets.schema_tree import SchemaTree\n"
    "box = QueryBox(vast, limit=0)\nbox.run()\nbox",
    "view = LiveView(vast)\nview",
    "tree = SchemaTree(vast, box)\ntree",
    "failed = QueryBox(vast, expression=f'\"{evil[0][:14]}{evil[3]}\" == ==')\n"
    "try: failed.run()\nexcept vastlab.errors.VastlabError: pass\nfailed",
    "LiveView(vastlab.connect(folder + file), rows=1)",
    "repr(box), repr(view), repr(tree)",
)
_PROGRESS = (
    # Slow: it waits for events until it may wait no longer.
    "vast.query('text == $x', params={'x': evil[0]}, mode='continuous', limit=0, timeout=1)",
    "from vastlab.nodes.base import Step\nfrom vastlab.notebook.notes import ProgressLine\n"
    "for text in evil:\n    with ProgressLine() as show: show(Step(text, 5, 0.5), 1.0)",
)
_ERRORS = (
    "vast.query('text == $x &&', params={'x': evil[0]})",
    "vast.query('\"\\x1b<img src=x onerror=window.__p=1>\" ==')",
    "vast.query(f'text == ${evil[0]}')",
    "vast.query('text == $x')",
    "vast.query('text == $x', params={'x': type(evil[0], (), {})()})",
    "vast.query(mode=evil[0] + evil[3])",
    "vast.query(since=evil[0] + evil[3])",
    "vast.query('nothing_<b> == 1')",
    "result['<img src=x onerror=window.__p=1>\\x1b']",
    "result.show(evil[3])",
    "result.top(evil[0] + evil[3])",
    "result.pivot(evil[0] + evil[3])",
    "result.sql('select 1 from \"<img src=x onerror=window.__p=1>\\x1b\"')",
    "vast.sql('select ' + evil[0] + evil[3])",
    "%%vast_sql\nselect ip('<img src=x onerror=window.__p=1>\x1b')",
    '%vast "<img src=x onerror=window.__p=1>" == \x1b nothing',
    "%vast -o <script>window.__p=1</script>\x1b 1",
    "%vast -m <script>window.__p=1</script>\x1b 1",
    "%vast --<script>window.__p=1</script>\x1b 1",
    "%vast_use <script>window.__p=1</script>\x1b",
    "%vast_run <script>window.__p=1</script>\x1b",
    "%vast_schemas <script>window.__p=1</script>\x1b",
    "%vast_status <script>window.__p=1</script>\x1b",
)
_FILES = (
    "new = vastlab.connect(f'{folder}-new.db')",
    "new.ingest(logs['torn'])",
    "print(new.ingest(logs['torn']))",
    "new.ingest(logs['torn'], strict=True)",
    "new.ingest(logs['nothing'])",
    "new.ingest(logs['missing'])",
    "new.ingest([logs['nothing'], logs['missing']])",
    "new.status()",
    "vastlab.connect(logs['torn']).counts()",
    "vastlab.connect(logs['missing']).counts()",
    "vastlab.connect(folder + '/..').query(limit=0)",
    "result.to_csv(logs['torn'])",
    "result.to_parquet(logs['torn'])",
    "import tempfile\nresult.to_csv(tempfile.mkdtemp())",
    "result.to_parquet(logs['torn'], portable=True)",
    "result.to_html(logs['torn'])",
    "result.to_html(logs['missing'] + '/' + names[0])",
)
_SLIPS = {"NameError", "TypeError", "AttributeError", "CorruptFileError"}  # of this very test
_DISPLAYS = {
    "results": _RESULTS, "magics": _MAGICS, "pictures": _PICTURES, "widgets": _WIDGETS,
    "progress": _PROGRESS, "errors": _ERRORS, "files": _FILES,
}  # fmt: skip


@pytest.mark.parametrize("kind", _DISPLAYS)
def test_every_display(notebook, made, kind):
    """In every display of vastlab, hostile text is text, and what would hide is visible."""
    cells = (_load(made), *_DISPLAYS[kind], "print('the end')")
    page = notebook(f"hostile-{kind}.ipynb", *cells)
    page.run_each()
    if kind == "widgets":
        page.until(lambda: page.has("8 events in 8 schemas"))
    page.lay_out()
    _nothing_came_through(page)
    shown = page.text()
    assert "the end" in shown
    if kind != "pictures":
        assert "<img src=x onerror" in shown or "<script>" in shown
        assert r"\x1b" in shown
    assert page.broken() == 0
    slips = [text for name, text in _errors(page) if name in _SLIPS]
    assert slips == []


def test_the_shell_in_a_cell(notebook, made):
    """What the shell says about hostile events and files is as harmless in a notebook."""
    commands = hostile.commands(*made)
    run = "import shlex, sys\ndef run(args):\n    line = [sys.executable, '-m', 'vastlab', *args]\n"
    run += "    get_ipython().system(shlex.join(line))"
    cells = [f"# {name}\nrun({args!r})" for name, args in commands.items()]
    page = notebook("hostile-shell.ipynb", run, *cells)
    page.run_each()
    page.lay_out()
    _nothing_came_through(page, terminal=True)
    assert page.text().count("red") >= len(commands)


def test_completion(notebook, made):
    """Tab offers names as they are typed: hostile ones in backticks, with escapes."""
    page = notebook(
        "hostile-completion.ipynb",
        "import os\n" + _load(made) + "\nos.environ['VAST_ENDPOINT'] = folder",
        known("src_ip"),
    )
    page.run_all()
    page.until(lambda: page.has("the catalogue is there"))
    page.settle()
    for line in ("%vast ", '%vast #type == "'):
        offered = page.completed(line)
        assert hostile.controls("\n".join(offered)) == []
        assert not [name for name in offered if "<" in name.strip("<=")]
        assert all("`" in name for name in offered if "src=" in name or "window" in name)
    assert {"src_ip", "text"} <= set(page.completed("%vast "))
    assert page.page.evaluate("window.__p") is None


def test_a_plain_frame(notebook, made):
    """A plain frame or series keeps the exact values, and still nothing runs."""
    page = notebook(
        "hostile-frame.ipynb",
        _load(made),
        "for name in result: display(result[name])",
        "vast.counts()",
        "print('exact', sorted(result[n]['text'].iloc[0] for n in result) == sorted(evil))",
    )
    page.run_all()
    page.until(lambda: page.has("exact True"))
    page.lay_out()
    assert page.page.evaluate("window.__p") is None
    assert page.count(f".jp-OutputArea-output :is({_DRAWN_BY_THEM})") == 0


def _nothing_came_through(page: Any, *, terminal: bool = False) -> None:
    """Look at the page, and at what the kernel sent: a page swallows some controls itself."""
    assert page.page.evaluate("window.__p") is None
    assert page.count(f".jp-OutputArea-output :is({_DRAWN_BY_THEM})") == 0
    assert hostile.controls(page.text()) == []
    assert hostile.controls(page.page.evaluate(_HIDDEN)) == []
    for text, red in _sent(page.page.evaluate(_OUTPUTS)):
        assert hostile.controls(text, terminal=terminal or red) == []


def _sent(cells: list[list[dict[str, Any]]]) -> Iterator[tuple[str, bool]]:
    """Go through the texts of outputs; those of an error are red."""
    for output in (output for outputs in cells for output in outputs):
        match output["output_type"]:
            case "stream":
                yield _joined(output["text"]), False
            case "error":
                yield f"{output['ename']} {output['evalue']}", False
                yield "\n".join(output["traceback"]), True
            case _:
                for kind, data in output["data"].items():
                    if kind.startswith("text/"):
                        yield _joined(data), False


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _errors(page: Any) -> list[tuple[str, str]]:
    outputs = [one for cell in page.page.evaluate(_OUTPUTS) for one in cell]
    return [(o["ename"], o["evalue"]) for o in outputs if o["output_type"] == "error"]
