# SPDX-License-Identifier: Apache-2.0
"""What MkDocs adds to `docs/`: README as first page, a page per task, the API, and the boards with their own pages.

Everything is made of the package, so that no figure and no name of the site is of an older version. Run by `make docs`.
"""

import json
import re
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from task_pages import task_page
from task_pictures import task_pictures, true_result

from avkit.cli import main
from avkit.leaderboard.boards import make_boards
from avkit.tasks import VARIANTS, list_tasks

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
    for name in [name for name in list_tasks() if name not in VARIANTS]:
        result = true_result(name)
        pages[f"tasks/{name}.md"] = task_page(name, boards, result)
        for path, picture in task_pictures(name, result).items():
            files.append(File.generated(config, f"tasks/{path}", content=picture))
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


def _board_pages() -> dict[str, str]:
    """The pages of `avkit leaderboard --html`."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "boards")
        out.mkdir()
        if main(["leaderboard", "--html", str(out)]):
            raise RuntimeError("avkit leaderboard --html failed")
        return {f"boards/{path.name}": path.read_text(encoding="utf-8") for path in out.iterdir()}
