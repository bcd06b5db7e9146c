# SPDX-License-Identifier: Apache-2.0
"""Write one task of a system as an ONNX file or as a program of `torch.export`, checked against the system itself."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from avkit.deploy.graph import GraphFacts, GraphOptions, TaskGraph, describe
from avkit.deploy.parity import Parity, compare
from avkit.deploy.texts import recorded_texts
from avkit.errors import AvkitError
from avkit.files import atomic
from avkit.systems.base import System

#: Name under which a file holds its facts.
FACTS = "avkit.json"
#: Tasks whose graph ONNX has all operators for; the others are exported as pt2.
ONNX_TASKS = ("avs", "ave", "ave_weak", "avvp", "ssl")
#: Packages that ONNX needs, and the extra of avkit that brings them.
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
#: Seeds of the inputs that parity is checked on.
_SEEDS = (0, 1)


class ExportError(AvkitError):
    """A task cannot be exported, or the exported file does not answer as the system does."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: How the file's name ends.
        write: Writes a program with its facts to a file.
        run: Answers of a file to inputs, by name.
    """

    suffix: str
    write: Callable[[Path, ExportedProgram, GraphFacts], None]
    run: Callable[[Path, Mapping[str, Tensor], Sequence[str]], dict[str, Tensor]]


def export(system: System, options: GraphOptions, format_name: str, path: Path, facts: GraphFacts) -> Parity:
    """Export a task; the file appears only when it answers as the system does.

    Args:
        system: The system, which is left as it is.
        options: What is fixed in the file.
        format_name: `onnx` or `pt2`.
        path: The file.
        facts: What it says of itself; its outputs are filled in.

    Returns:
        How far the file's answers are from the system's.

    Raises:
        ExportError: If a package is missing, the graph cannot be made, or the answers differ.
    """
    kind = FORMATS[format_name]
    if format_name == "onnx":
        _need_onnx()
    graph = TaskGraph(system.eval(), options)
    expected = {seed: _answer(graph, options, seed) for seed in _SEEDS}
    if not expected[_SEEDS[0]]:
        raise ExportError(
            f"Task {options.task!r} of this run has no answers that a graph could give: they are written token by "
            "token. Name another task, or train a run with --model.interface heads."
        )
    facts.inputs = describe(options.example(0))
    with _exporting(options.task, "pt2"):
        program = _trace(graph, options, plain_attention=format_name == "onnx")
        facts.outputs = describe(_answer(program.module(), options, 0))
    with atomic(path) as part:
        parities = []
        with _exporting(options.task, format_name):
            kind.write(part, program, facts)
            for seed, values in expected.items():
                answers = kind.run(part, options.example(seed), list(facts.outputs))
                parities.append(compare({name: values[name] for name in facts.outputs}, answers))
        worst = max(parities, key=lambda parity: parity.excess)
        if not worst.holds:
            raise ExportError(
                f"The exported graph of task {options.task!r} does not answer as the run does: {worst.describe()}. "
                f"{path} was not written. Export it as pt2, or report it."
            )
    return worst


@torch.no_grad()
def _answer(graph: nn.Module, options: GraphOptions, seed: int) -> dict[str, Tensor]:
    answers: dict[str, Tensor] = graph(*options.example(seed).values())
    return answers


def _trace(graph: TaskGraph, options: GraphOptions, *, plain_attention: bool) -> ExportedProgram:
    """The program of a graph, in which texts are constants.

    Args:
        graph: The graph.
        options: What is fixed.
        plain_attention: Trace attention as products and a softmax, whose layout in memory other operators can rely on;
            fused kernels have another, which ONNX's decompositions do not keep.
    """
    inputs = tuple(options.example(0).values())
    with recorded_texts(graph) as recorders:
        graph.eval()  # forgets features of texts
        _answer(graph, options, 0)
        for recorder in recorders:
            recorder.drop_encoder()
        graph.eval()
        try:
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH) if plain_attention else nullcontext():
                return torch.export.export(graph, inputs, strict=False)
        finally:
            graph.eval()


@contextmanager
def _exporting(task: str, format_name: str) -> Iterator[None]:
    """Turn whatever torch and ONNX raise into one line, and keep them from printing it too."""
    try:
        with _quiet():
            yield
    except AvkitError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        advice = "Export it as pt2." if format_name == "onnx" else "Report it, with the system and the head of the run."
        raise ExportError(
            f"Task {task!r} of this run cannot be exported as {format_name}: {lines[0][:200]}. {advice}"
        ) from error


def _write_pt2(path: Path, program: ExportedProgram, facts: GraphFacts) -> None:
    torch.export.save(program, path, extra_files={FACTS: facts.as_json()})


def _run_pt2(path: Path, inputs: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    with torch.no_grad():
        answers: dict[str, Tensor] = torch.export.load(path).module()(*inputs.values())
    return {name: answers[name] for name in names}


def _write_onnx(path: Path, program: ExportedProgram, facts: GraphFacts) -> None:
    with sdpa_kernel(SDPBackend.MATH):
        exported = torch.onnx.export(
            program,
            input_names=list(facts.inputs),
            output_names=list(facts.outputs),
            dynamo=True,
            verbose=False,
        )
    if exported is None:
        raise ExportError("torch.onnx.export made no program. Install torch 2.6 or newer.")
    exported.model.metadata_props[FACTS] = facts.as_json()
    exported.save(path, external_data=False)


def _run_onnx(path: Path, inputs: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = session.run(list(names), {name: tensor.numpy() for name, tensor in inputs.items()})
    return {name: torch.from_numpy(answer) for name, answer in zip(names, answers, strict=True)}


def _need_onnx() -> None:
    """Refuse where packages are missing."""
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX needs {', '.join(missing)}, which this Python has not. Install it: pip install 'avkit[export]'."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from printing what an error says already."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


#: Kinds of files by name.
FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", _write_onnx, _run_onnx),
    "pt2": Format(".pt2", _write_pt2, _run_pt2),
}
