# SPDX-License-Identifier: Apache-2.0
"""What MkDocs adds to `docs/`: README as first page, a page per task, the API, and the boards with their own pages.

Everything is made of the package, so that no figure and no name of the site is of an older version. Run by `make docs`.
"""

import json
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from types import FunctionType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from avkit.cli import main
from avkit.fields import FIELDS
from avkit.heads import list_heads
from avkit.leaderboard.boards import DOUBTFUL, Board, Setting, make_boards
from avkit.leaderboard.experiments import Experiment, read_experiments
from avkit.tasks import VARIANTS, find_task, list_tasks

ROOT = Path(__file__).parents[1]
#: Parts of the package that have a page in the API.
API = ("metrics", "metrics.functional", "datasets", "heads", "systems", "tasks", "encoders", "answers", "licences")
#: Where files that are no pages are read.
_BLOB = "https://github.com/avkit/avkit/blob/main/"
_LINK = re.compile(r"\]\((?!https?://|#)([^)]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    nav: list[dict[str, object] | str] = []
    for entry in config.nav or []:
        if isinstance(entry, dict) and "TASKS" in entry.values():
            nav.append({"Tasks": [f"tasks/{name}.md" for name in list_tasks() if name not in VARIANTS]})
        elif isinstance(entry, dict) and "API" in entry.values():
            nav.append({"API": ["api/avkit.md", *(f"api/{name}.md" for name in API)]})
        else:
            nav.append(entry)
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    boards = list(make_boards().values())
    pages = {"index.md": _home(), "api/avkit.md": _api("avkit"), **_board_pages()}
    pages |= {f"api/{name}.md": _api(f"avkit.{name}") for name in API}
    pages |= {f"tasks/{name}.md": _task(name, boards) for name in list_tasks() if name not in VARIANTS}
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{notebook.stem}.md"] = _notebook(notebook)
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """Links out of `docs/` lead to the repository."""
    return _LINK.sub(_outside, markdown)


def _outside(match: re.Match[str]) -> str:
    target = match[1]
    if not target.startswith("../"):
        return match[0]
    return f"]({_BLOB}{target.removeprefix('../')})"


def _home() -> str:
    """README, with links as seen from `docs/`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace(f"]({_BLOB}docs/notebooks)", "](notebooks/video.md)")
    text = text.replace("https://github.com/avkit/avkit/raw/main/docs/images/", "images/")
    return text.replace(f"]({_BLOB}docs/", "](")


def _notebook(path: Path) -> str:
    """The cells of a notebook as a page, with a link to the file."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n[Open the notebook]({_BLOB}docs/notebooks/{path.name}) to run it.\n{rest}\n"


def _api(page: str) -> str:
    """A page of the API: the docstring of the module, and those of the classes and functions that it shows."""
    module = import_module(page)
    names = [name for name in dir(module) if not name.startswith("_") and _is_documented(getattr(module, name))]
    parts = [f"# {page}", (module.__doc__ or "").partition("\n\nExamples:")[0].strip()]
    for name in names:
        shown = getattr(module, name)
        parts.append(f"::: {shown.__module__}.{shown.__qualname__}")
    return "\n\n".join(parts) + "\n"


def _is_documented(shown: object) -> bool:
    is_code = isinstance(shown, type | FunctionType)
    return is_code and bool(shown.__doc__) and str(shown.__module__).startswith("avkit.")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def _task(name: str, boards: Sequence[Board]) -> str:
    """A task: what it asks, what it reads and answers, its heads, and what was published on it."""
    task = find_task(name)
    first, _, rest = (task.__doc__ or "").partition("\n\n    Args:")[0].strip().partition("\n")
    targets = [[f"`{target}`", FIELDS[target].doc] for target in task.targets]
    rows = []
    for board in boards:
        for setting in board.settings:
            if setting.terms.task == name and (best := _best(setting)) is not None:
                rows.append([f'<a href="../../boards/{board.name}.html">{board.title}</a>', setting.title, *best])
    recipes = {e.recipe[-1].removesuffix(".yaml") for e in read_experiments() if e.recipe and _asks(e, name)}
    parts = [
        f"# {name}",
        first,
        dedent(rest).strip(),
        f"`avkit fit --tasks {name}` trains it on the built-in scenes; its usual dataset is `{task.benchmark}`.",
        "## What it reads",
        _table(["target", "what it is"], targets),
        "## What it answers",
        ", ".join(f"`{kind.__name__}`" for kind in task.answers),
        "## Heads",
        ", ".join(f"`{head}`" for head in list_heads(name))
        + f"; another than the first by `--model.heads.{name} NAME`.",
    ]
    if rows:
        parts += ["## Best published", _table(["board", "terms", "metric", "figure", "method"], rows)]
    if recipes:
        parts += ["## Recipes", ", ".join(f"`{recipe}`" for recipe in sorted(recipes))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _asks(experiment: Experiment, task: str) -> bool:
    return task in str(experiment.all_options().get("tasks", "")).split(",")


def _best(setting: Setting) -> list[str] | None:
    """Metric, figure and method of the best row of a setting that nothing speaks against."""
    metric = setting.metrics[0]
    rows = [row for row in setting.rows if row.kind == "comparison" and row.word not in DOUBTFUL]
    rows = [row for row in rows if metric in row.cells and row.cells[metric].value is not None]
    if not rows:
        return None
    best = min(rows, key=lambda row: row.sort_key([metric]))
    return [metric, best.cells[metric].text, best.method]


def _board_pages() -> dict[str, str]:
    """The pages of `avkit leaderboard --html`."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "boards")
        out.mkdir()
        if main(["leaderboard", "--html", str(out)]):
            raise RuntimeError("avkit leaderboard --html failed")
        return {f"boards/{path.name}": path.read_text(encoding="utf-8") for path in out.iterdir()}
