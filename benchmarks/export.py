# SPDX-License-Identifier: Apache-2.0
"""Which tasks of which systems and heads can be written as `pt2` and as ONNX, each checked against the system.

    python benchmarks/export.py [--only avs/av_unified] [--formats pt2,onnx]

Systems are small and untrained: what a graph can hold depends on what a network does, and not on its weights. A row for
each task with each head of AV-Unified, and each system of a paper; the error's first words where
there is no file. ONNX is tried for the tasks that have all operators there. docs/export.md shows the table.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from avkit.batch import FeatureWidths, Vocabulary
from avkit.cli.lightning_setup import quiet
from avkit.deploy.export import ONNX_TASKS, export
from avkit.deploy.graph import GraphFacts, GraphOptions
from avkit.errors import AvkitError
from avkit.heads import list_heads
from avkit.systems import make_config
from avkit.tasks import find_task, list_tasks
from avkit.training.module import AVModel

#: Systems of papers: their task, options that make them small, and patches of a step of stored features.
SYSTEMS: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("ave", "avel", {}, 49),
    ("ave_weak", "avel", {}, 49),
    ("ave", "psp", {}, 49),
    ("ave_weak", "psp", {"weak": True}, 49),
    ("avvp", "han", {"width": 16}, 1),
    ("avvp", "mm_pyramid", {"width": 16}, 1),
    ("ssl", "ez_vsl", {"width": 16, "image_size": 64}, 1),
    ("ssl", "lvs", {"image_size": 64}, 1),
    ("avs", "avsegformer", {"width": 32, "layers": 1, "audio_layers": 1, "queries": 4}, 1),
    ("avs", "tpavi", {"width": 16}, 1),
    ("avqa", "tspm", {"width": 16, "topk": 3}, 14),
    ("avqa", "avst", {}, 196),
    ("avqa", "pstp", {"width": 16, "segments": 5, "topm": 4}, 50),
    ("davel", "ccnet", {"width": 8, "channels": 8, "inner": 4, "length": 64}, 1),
    ("davel", "unav", {"length": 64}, 1),
    ("davel", "actionformer", {}, 1),
    ("davel", "tadtr", {}, 1),
    ("ra_ssu", "ssuformer", {}, 1),
)
SMALL = {"width": 32, "heads": 2}
VOCABULARY = Vocabulary(["dog", "cat", "bell"], ["yes", "no"], ["is", "a", "dog", "heard"])
STEPS = 6
SIZE = 64


@dataclass
class Case:
    """A task of a system.

    Attributes:
        task: The task.
        system: Name of the system.
        head: Head of the task; empty where a system has its own.
        options: Options of the system.
        patches: Patches of a step of stored visual features.
    """

    task: str
    system: str
    head: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    patches: int = 1

    @property
    def name(self) -> str:
        """Task, system and head."""
        return "/".join(part for part in (self.task, self.system, self.head) if part)

    def model(self) -> AVModel:
        """The untrained model."""
        torch.manual_seed(0)
        config = make_config({"name": self.system, **self.options})
        more: dict[str, Any] = {}
        if self.head:
            more = {"heads": {self.task: self.head}}
        return AVModel(tasks=self.task, vocabulary=VOCABULARY, system=config, **more).eval()


def cases() -> Iterator[Case]:
    """All rows of the table."""
    for task in list_tasks():
        for head in list_heads(task):
            yield Case(task, "av_unified", head, SMALL)
    for task, system, options, patches in SYSTEMS:
        yield Case(task, system, options=options, patches=patches)


def attempt(case: Case, format_name: str) -> str:
    """What became of a case in one format: megabytes and seconds, or why not."""
    start = time.perf_counter()
    try:
        model = case.model()
        question = "is a dog heard" if find_task(case.task).needs_question() else ""
        widths = FeatureWidths(*model.features[case.task])
        options = GraphOptions(case.task, STEPS, 1.0, (SIZE, SIZE), widths, case.patches, question)
        facts = GraphFacts(case.task, {}, {}, 1.0, list(VOCABULARY.classes), [], question)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"x.{format_name}"
            parity = export(model.system, options, format_name, path, facts)
            size = path.stat().st_size / 1e6
    except (AvkitError, ValueError, RuntimeError) as error:
        return f"no: {' '.join(str(error).split())[:150]}"
    return f"yes ({size:.1f} MB, {time.perf_counter() - start:.0f} s, {parity.describe()})"


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names that begin so, such as avs/av_unified")
    parser.add_argument("--formats", default="pt2,onnx")
    options = parser.parse_args()
    quiet()
    for case in cases():
        if case.name.startswith(options.only):
            for format_name in options.formats.split(","):
                if format_name == "onnx" and case.task not in ONNX_TASKS:
                    continue
                print(f"{case.name:32} {format_name:5} {attempt(case, format_name)}", flush=True)


if __name__ == "__main__":
    main()
