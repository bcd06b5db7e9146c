# SPDX-License-Identifier: Apache-2.0
"""`avkit export RUN --task avs -o FILE`: one task of a run as a file that runs without avkit."""

import argparse
from pathlib import Path

from avkit.cli.trust import add_switches

#: Kinds of files by the end of their names.
FORMATS = {".onnx": "onnx", ".pt2": "pt2"}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit export",
        description="Write one task of a run as an ONNX file, or as a program of torch.export, with a fixed number of "
        "steps. The file is checked against the run before it is kept. docs/export.md says how to run it.",
    )
    p.add_argument("run", help="folder of a run, owner/name on the hub, or a file that 'avkit convert' wrote")
    p.add_argument("-o", "--out", type=Path, metavar="FILE", help="the file; TASK.onnx or TASK.pt2 by default")
    p.add_argument("--format", choices=sorted(FORMATS.values()), help="as the file's name ends by default, else onnx")
    p.add_argument("--task", help="the task; may be left out where the run has one")
    p.add_argument("--steps", type=int, default=10, help="steps of a clip (default: 10)")
    p.add_argument("--hop", type=float, default=1.0, metavar="SECONDS", help="seconds per step (default: 1)")
    p.add_argument(
        "--size", type=int, nargs="+", metavar="PIXELS", help="height and width of pictures, or one for both; the run's"
    )
    p.add_argument("--patches", type=int, default=1, help="patches of a step of stored visual features (default: 1)")
    p.add_argument("--question", default="", help="the question that is answered, for tasks that answer some")
    p.add_argument("--overwrite", action="store_true", help="replace FILE where it exists")
    p.add_argument("--weights", metavar="text=PATH", help="of a converted checkpoint's questions, as in predict")
    p.add_argument("--names", help="of a converted checkpoint's classes or answers, as in predict")
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Export; prints what the file takes and gives."""
    options = parser().parse_args(args)
    from avkit import __version__
    from avkit.batch import FeatureWidths
    from avkit.cli.lightning_setup import quiet
    from avkit.deploy.export import export
    from avkit.deploy.graph import GraphFacts, GraphOptions
    from avkit.inference.loading import load

    _check_numbers(options)
    named_format = _choose_format(options)
    quiet()
    predictor = load(options.run, "cpu", trust=options.trust, weights=options.weights, names=options.names)
    task = _choose_task(predictor.tasks, options.task, options.run)
    path = options.out or Path(f"{task}.{named_format}")
    if path.exists() and not options.overwrite:
        raise ValueError(f"{path} exists. Choose another file with -o FILE, or replace it with --overwrite.")
    model = predictor.model
    reads_question = model.tasks[task].needs_question()
    if reads_question and not options.question:
        raise ValueError(f"Task {task!r} answers a question, which is fixed in the file. Give it with --question.")
    if options.question and not reads_question:
        raise ValueError(f"Task {task!r} answers no questions. Leave --question out.")
    model.system.check_steps(task, options.steps)
    vocabulary = model.tasks[task].vocabulary
    facts = GraphFacts(
        task,
        {},
        {},
        options.hop,
        list(vocabulary.classes),
        list(vocabulary.answers) if reads_question else [],
        options.question,
        provenance={**predictor.provenance, "avkit": __version__},
    )
    graph = GraphOptions(
        task,
        options.steps,
        options.hop,
        _size(options.size, predictor.image_size),
        FeatureWidths(*model.features[task]),
        options.patches,
        options.question,
    )
    parity = export(model.system, graph, named_format, path, facts)
    print(f"{path}: task {task}, {path.stat().st_size / 1e6:.1f} MB, {parity.describe()}")
    for title, tensors in (("takes", facts.inputs), ("gives", facts.outputs)):
        for name, shape in tensors.items():
            print(f"  {title} {name}: {shape}")
    return 0


def _check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that no clip has."""
    for name in ("steps", "patches"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} is {getattr(options, name)}; it is at least 1.")
    if not options.hop >= 0.025:
        raise ValueError(f"--hop is {options.hop:g}; it is at least 0.025 seconds.")
    if options.size and (len(options.size) > 2 or min(options.size) < 1):
        raise ValueError(
            f"--size is {' '.join(map(str, options.size))}; give height and width in pixels, or one number."
        )


def _size(given: list[int] | None, of_run: int) -> tuple[int, int]:
    """Height and width of pictures."""
    sides = given or [of_run]
    return sides[0], sides[-1]


def _choose_format(options: argparse.Namespace) -> str:
    """The kind of file that is asked for, or that the file's name ends with.

    Raises:
        ValueError: If both contradict each other.
    """
    suffix = options.out.suffix if options.out else ""
    of_name = FORMATS.get(suffix)
    if options.out and of_name is None:
        raise ValueError(
            f"The name of {options.out} ends in neither {' nor '.join(FORMATS)}. Name it {options.out}.onnx."
        )
    if options.format and of_name and options.format != of_name:
        raise ValueError(
            f"--format {options.format} and the name {options.out} contradict each other. Leave --format out, or name "
            f"it {options.out.with_suffix('.' + options.format)}."
        )
    return options.format or of_name or "onnx"


def _choose_task(tasks: list[str], name: str | None, run: str) -> str:
    """The task, which may be left out where there is one.

    Raises:
        ValueError: If it is not of the run, or none is named and there are several.
    """
    from avkit.errors import unknown_name

    if name is None:
        if len(tasks) > 1:
            raise ValueError(f"Run {run} has tasks {', '.join(tasks)}; a file answers one. Name it with --task.")
        return tasks[0]
    if name not in tasks:
        raise unknown_name(f"task of run {run}", name, tasks)
    return name
