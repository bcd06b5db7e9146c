# SPDX-License-Identifier: Apache-2.0
"""Who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "avkit"
#: What each part may import of avkit beside itself; a change of this table is a change of the design.
MAY: dict[str, str] = {
    "errors": "",
    "outside": "errors",
    "fields": "errors",
    "batch": "fields errors",
    "collate": "batch fields errors",
    "files": "errors",
    "reading": "errors",
    "answers": "batch errors fields reading",
    "text": "errors reading",
    "nn": "batch errors reading",
    "media": "batch errors files reading",
    "metrics": "nn batch errors files fields reading",
    "scenes": "batch errors files fields reading",
    "backbone": "nn batch errors reading",
    "encoders": "licences nn media text batch errors files outside reading",
    "heads": "nn text batch errors outside encoders reading",  # encoders: the contract, for annotations
    "features": "errors files reading",
    "datasets": "features media scenes text batch errors outside files fields collate reading",
    # avkit: version
    "extraction": "media encoders datasets features text batch errors files avkit fields collate reading",
    "tasks": "answers nn metrics text batch errors outside fields reading",
    "systems": "answers licences encoders backbone heads nn tasks media metrics text batch errors outside files fields "
    "reading",
    "training": "licences systems heads tasks metrics nn datasets extraction features text batch collate errors files "
    "fields outside reading",
    "report": "answers media batch errors files reading",
    "inference": "hub answers training systems tasks report nn media text extraction datasets features batch errors "
    "outside files avkit collate reading",
    "export": "datasets media scenes batch errors files reading",
    "hub": "tasks training licences reading errors files avkit",
    "deploy": "systems encoders batch errors files",
    "leaderboard": "errors files reading",
    "scoring": "tasks datasets training answers metrics nn text batch collate errors files outside fields reading",
    "corpora": "datasets media batch errors files reading",
    "__init__": "heads systems tasks inference datasets encoders leaderboard",
    "pages": "",
    "annotation": "pages corpora systems encoders extraction datasets media metrics text batch errors files reading",
    "demo": "pages inference report answers media batch errors files",
    "licences": "errors",
    "__main__": "cli outside",
}
FILES = sorted(HOUSE.rglob("*.py"))


def part(path):
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path):
    """Modules that a file imports anywhere, as dotted names."""
    package = ["avkit", *path.relative_to(HOUSE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if name == "avkit":  # `from avkit import model` names a part, `from avkit import __version__` does not
                yield from (f"avkit.{a.name}" if a.name in MAY else "avkit" for a in node.names)
            else:
                yield name


def imported_at_start(path, modules):
    """Modules, of those given, that importing a file imports; for `from package import module` the module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_point_down(path):
    own = part(path)
    if own == "cli":  # puts everything together
        return
    for name in imported(path):
        head, *rest = name.split(".")
        if head == "avkit":
            other = rest[0] if rest else "avkit"
            assert other == own or other in MAY[own].split(), f"{own} imports {name}; it may: {MAY[own] or 'nothing'}"


def test_papers_do_not_import_each_other():
    for path in (HOUSE / "systems").rglob("*/*.py"):
        paper = path.parent.name
        for name in imported(path):
            parts = name.split(".")
            if parts[:2] == ["avkit", "systems"] and len(parts) > 2 and (HOUSE / "systems" / parts[2]).is_dir():
                assert parts[2] == paper, f"{path.relative_to(HOUSE)} imports {name}"


def test_what_papers_share_imports_no_paper():
    for path in (HOUSE / "systems").glob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            folder = len(parts) > 2 and (HOUSE / "systems" / parts[2]).is_dir()
            assert not (parts[:2] == ["avkit", "systems"] and folder), f"{path.name} imports {name}"


def test_modules_import_each_other_in_no_circle():
    modules = {path.relative_to(HOUSE.parent).with_suffix("").as_posix().replace("/", "."): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {name: set(imported_at_start(path, modules)) & modules.keys() for name, path in modules.items()}
    done, active = set(), []

    def visit(name):
        assert name not in active, " -> ".join([*active[active.index(name) :], name])
        if name in done:
            return
        active.append(name)
        for other in graph[name] - {name}:
            visit(other)
        active.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_at_most_eight_modules_lie_loose():
    assert len(list(HOUSE.glob("*.py"))) <= 8


def test_the_table_is_of_the_parts_there_are():
    assert {part(path) for path in FILES} == {*MAY, "cli"}


def test_relative_and_nested_imports_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "HOUSE", tmp_path)
    (tmp_path / "heads").mkdir()
    path = tmp_path / "heads" / "x.py"
    path.write_text(
        "import avkit.training.module as m\ndef f():\n    from ..tasks import avs\n    from . import mask\n"
    )
    assert set(imported(path)) == {"avkit.training.module", "avkit.tasks", "avkit.heads"}


def test_tasks_of_the_table_are_not_imported_by_it():
    assert not [name for name in imported(HOUSE / "tasks" / "__init__.py") if name.startswith("avkit.metrics")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_only_training_and_the_command_line_know_lightning(path):
    if any(name.split(".")[0] == "lightning" for name in imported(path)):
        assert part(path) in {"training", "cli"}


def loaded(code):
    check = f"import sys; {code}; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.split())


def test_heads_need_torch_and_einops_alone():
    names = loaded(
        "from avkit.heads import MaskHead, EventHead, HeatHead, AnswerHead, PyramidHead, RegionHead, ParsingHead"
    )
    assert {"torch", "einops"} <= names
    assert not names & {"lightning", "timm", "av", "torchmetrics", "transformers", "open_clip", "matplotlib", "PIL"}


def test_avkit_itself_loads_nothing():
    assert not loaded("import avkit") & {"torch", "numpy", "lightning"}


def test_load_comes_when_it_is_asked_for():
    names = loaded("import avkit; assert avkit.load.__module__ == 'avkit.inference.loading'")
    assert "torch" in names
    assert not names & {"timm", "open_clip"}


def test_help_loads_no_torch():
    code = (
        "import runpy, sys\nsys.argv = ['avkit', '--help']\n"
        "try:\n    runpy.run_module('avkit', run_name='__main__')\n"
        "except SystemExit as e:\n    assert not e.code\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: avkit" in done.stdout
    assert "'avkit.cli'" in done.stderr
    for heavy in ("torch", "lightning", "numpy", "av"):
        assert f"'{heavy}'" not in done.stderr
