# SPDX-License-Identifier: Apache-2.0
"""What a report says of a run beside its figures: loss, sizes and weights of the model, cost, speed, and origin."""

import hashlib
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from avkit.batch import Batch
from avkit.cli.provenance import versions
from avkit.report import Curve
from avkit.report.efficiency import Efficiency, measure
from avkit.systems.encoder_weights import WeightsFacts
from avkit.training.callbacks import History, read_history
from avkit.training.evaluator import Evaluator
from avkit.training.module import AVModel
from avkit.training.run_folder import RunFolder
from avkit.training.weights_file import current_weights


def curves(run: RunFolder) -> dict[str, Curve]:
    """The loss of each benchmark over the steps."""
    by_task: dict[str, Curve] = {}
    for line in read_history(run.history):
        loss = line.get(f"train/{line.get('task')}/loss")
        if loss is not None:
            curve = by_task.setdefault(line["task"], {"step": [], "loss": []})
            curve["step"].append(line["step"])
            curve["loss"].append(loss)
    return by_task


def model_facts(model: AVModel) -> dict[str, str]:
    """The system, and parameters of each part that has some."""
    facts = {
        "system": model.system.config.name,
        "parameters": f"{count_parameters(model):,}",
        "trained": f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}",
    }
    for name, module in model.system.parts().items():
        if count_parameters(module):
            facts[name] = f"{count_parameters(module):,}"
    return facts


def weights_rows(run: RunFolder) -> dict[str, str]:
    """What the encoders and other loaded parts began with, and whether they were trained."""
    rows = {}
    for facts in run.read_facts().get("weights", []):
        rows[f"weights of {facts['name']}"] = WeightsFacts(**facts).description
    return rows


def count_parameters(*modules: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


def efficiency(model: AVModel, batches: Mapping[str, Sequence[Batch]]) -> list[Efficiency]:
    """The cost of each task's answers to one clip, of the first of its datasets."""
    rows = []
    training = model.training
    model.eval()
    measured: set[str] = set()
    for own_batches in batches.values():
        batch = own_batches[0].to(model.device)
        if batch.task not in measured:
            measured.add(batch.task)
            rows.append(measure(model, batch, hardware(), count_parameters(*model.system.modules_of(batch.task))))
    model.train(training)
    return rows


def speed_facts(
    history: History | None, minutes: float | None, seconds: float, evaluator: Evaluator, run: RunFolder
) -> dict[str, str]:
    """How long training and test took, and how long training waited for data."""
    facts = {"hardware": hardware()}
    if history is not None and minutes is not None and history.working_seconds:
        steps = sum("task" in line for line in read_history(run.history))
        facts["training"] = f"{minutes:.1f} min, {steps} steps, {history.steps_per_second:.2f} steps/s"
        facts["waiting for data"] = f"{100 * history.waiting_share:.1f} % of the steps' time"
    clips = sum(evaluator.clips.values())
    facts["test"] = f"{seconds:.1f} s for {clips} clips, with baselines, silence and other sounds"
    return facts


def hardware() -> str:
    """The device's name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU {platform.machine()}, {threads} {'thread' if threads == 1 else 'threads'}"


def provenance(run: RunFolder, checkpoint: Path | None, seed: int | bool) -> dict[str, str]:
    """Where the figures come from."""
    facts = run.read_facts()
    tested = "none, nothing is trained"
    if checkpoint is not None:
        digest = hashlib.sha256(current_weights(checkpoint).read_bytes()).hexdigest()
        tested = f"{checkpoint.stem}, sha256 {digest[:16]}"
    return {
        "command": shlex.join(facts["command"]),
        "config": str(run.config),
        "checkpoint": tested,
        "seed": str(seed),
        "commit": facts.get("commit", "") or "not in a git checkout",
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions().items()),
    }
