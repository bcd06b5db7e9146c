# SPDX-License-Identifier: Apache-2.0
"""Who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "avkit"
GROUND = {"batch", "errors", "files", "words"}
#: What each part may import of avkit beside itself; a change of this table is a change of the design.
MAY: dict[str, set[str]] = {
    "errors": set(),
    "batch": set(),
    "words": set(),
    "losses": set(),
    "sampler": set(),
    "files": {"errors"},
    "media": GROUND,
    "metrics": GROUND,
    "backbone": GROUND,
    "scenes": GROUND,
    "report": GROUND,
    "heads": GROUND,
    "encoders": GROUND | {"media"},
    "datasets": GROUND | {"media", "scenes"},
    "datamodule": GROUND | {"datasets", "sampler"},
    "tasks": GROUND | {"heads", "losses", "metrics"},
    "systems": GROUND | {"encoders", "backbone", "heads", "losses"},
    "scoreboard": GROUND | {"tasks"},
    "model": GROUND | {"systems", "tasks", "scoreboard"},
    "runs": GROUND,
    "training": GROUND | {"runs"},
    "predictor": GROUND | {"media", "model", "report", "runs", "systems", "__init__"},
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
            yield ".".join([*base, *([node.module] if node.module else [])])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_point_down(path):
    own = part(path)
    if own in ("cli", "__main__", "__init__"):
        return
    for name in imported(path):
        head, *rest = name.split(".")
        if head == "avkit":
            other = rest[0] if rest else "__init__"
            assert other == own or other in MAY[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_only_three_parts_and_training_know_lightning(path):
    if any(name.split(".")[0] == "lightning" for name in imported(path)):
        assert part(path) in {"model", "datamodule", "training", "cli"}


def loaded(code):
    check = f"import sys; {code}; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.split())


def test_heads_need_torch_and_einops_alone():
    names = loaded("import avkit.heads.mask, avkit.heads.caption, avkit.heads.answer")
    assert "torch" in names
    assert not names & {"lightning", "timm", "av", "torchmetrics", "transformers", "open_clip", "matplotlib"}


def test_avkit_itself_loads_nothing():
    assert not loaded("import avkit") & {"torch", "numpy", "lightning"}
