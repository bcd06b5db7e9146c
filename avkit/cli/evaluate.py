# SPDX-License-Identifier: Apache-2.0
"""Test a run with everything it is compared with, and write its report."""

import hashlib
import math
import platform
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from avkit.batch import Batch
from avkit.cli.examples import examples
from avkit.cli.provenance import versions
from avkit.cli.trainer import AVCLI
from avkit.report import Curve, Row, RunReport, efficiency_table, terminal_table, write_report
from avkit.report.efficiency import Efficiency, measure
from avkit.training.callbacks import History, read_history
from avkit.training.evaluator import Evaluator, fit_baselines
from avkit.training.module import AVModel
from avkit.training.run_folder import RunFolder

#: Training samples per task that baselines are counted over.
COUNTED = 256
#: Test samples per task shown in the report.
SHOWN = 4


def report_run(
    cli: AVCLI, run: RunFolder, history: History | None = None, training_minutes: float | None = None
) -> Path:
    """Score the best checkpoint on the test split, print the table, write the report; returns the HTML's path."""
    model, data, trainer = cli.model, cli.datamodule, cli.trainer
    checkpoint = run.best if run.best.exists() else run.last
    model.baselines = fit_baselines(model.tasks, data.first_batches("train", COUNTED))
    start = time.perf_counter()
    trainer.test(model, datamodule=data, ckpt_path=str(checkpoint), verbose=False)
    seconds = time.perf_counter() - start
    rows = list(score_rows(model, data.dataset_names, "test", {t: data.coverage("test", t) for t in model.tasks}))
    report = RunReport(
        name=run.path.name,
        title=f"{', '.join(model.tasks)} on {data.dataset}",
        rows=rows,
        examples=list(examples(model, data.first_batches("test", SHOWN))),
        curves=curves(run),
        efficiency=efficiency(model, data.first_batches("test", 1)),
        facts={
            "model": model_facts(model),
            "speed": speed_facts(history, training_minutes, seconds, model.board, run),
            "provenance": provenance(run, checkpoint, cli.config.seed_everything),
        },
        notes=notes(model),
    )
    path = write_report(run.path, report)
    console = Console()
    console.print(terminal_table(rows))
    console.print(efficiency_table(report.efficiency))
    for note in report.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    console.print(f"report: {path}", highlight=False, markup=False, soft_wrap=True)
    return path


def score_rows(model: AVModel, datasets: Mapping[str, str], split: str, sizes: dict[str, int]) -> Iterator[Row]:
    """One row per figure, each with the best baseline, silence and another sound; headline figures first."""
    board = model.board
    for name, task in model.tasks.items():
        scored = {who: board.compute(name, who) for who in board.contestants(name)}
        said = board.notes(name)
        figures = scored["model"]
        order = [*task.headline, *(k for k in figures if k not in task.headline)]
        for metric in order:
            rules = {
                who.removeprefix("baseline: "): found[metric]
                for who, found in scored.items()
                if who.startswith("baseline: ") and not math.isnan(found.get(metric, math.nan))
            }
            best = max(rules, key=lambda rule: rules[rule]) if rules else ""
            yield Row(
                name,
                datasets[name],
                split,
                metric,
                figures[metric],
                baseline=rules.get(best),
                baseline_name=best,
                silence=scored.get("silence", {}).get(metric),
                swapped=scored.get("swapped", {}).get(metric),
                clips=board.clips[name],
                of=sizes[name],
                note=said.get(metric, ""),
                unit="number" if metric == "CIDEr" else "fraction",
            )


def curves(run: RunFolder) -> dict[str, Curve]:
    """The loss of each task over the steps."""
    found: dict[str, Curve] = {}
    for line in read_history(run.history):
        loss = line.get(f"train/{line.get('task')}/loss")
        if loss is not None:
            curve = found.setdefault(line["task"], {"step": [], "loss": []})
            curve["step"].append(line["step"])
            curve["loss"].append(loss)
    return found


def model_facts(model: AVModel) -> dict[str, str]:
    """The system, and parameters of each part that has some."""

    def count(module: torch.nn.Module, trained: bool = False) -> int:
        return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)

    facts = {"system": model.system.config.name, "parameters": f"{count(model):,}"}
    facts |= {"trained": f"{count(model, trained=True):,}"}
    facts |= {f"head {name}": f"{count(head):,}" for name, head in model.heads.items() if count(head)}
    facts |= {"decoder of sequences": f"{count(model.decoder):,}"} if model.decoder is not None else {}
    return facts


def efficiency(model: AVModel, batches: dict[str, list[Batch]]) -> list[Efficiency]:
    """The cost of each task's answers to one clip."""
    rows = []
    for name, (batch, *_) in batches.items():
        used = [model.system, *(head for key, head in model.heads.items() if key.replace("/", ".") == name)]
        used += [model.decoder] if model.decoder is not None else []
        params = sum(p.numel() for part in used for p in part.parameters())
        training = model.training
        model.eval()
        rows.append(measure(model, batch.to(model.device), hardware(), params))
        model.train(training)
    return rows


def speed_facts(
    history: History | None, minutes: float | None, seconds: float, board: Evaluator, run: RunFolder
) -> dict[str, str]:
    """How long training and test took, and how long training waited for data."""
    facts = {"hardware": hardware()}
    if history is not None and minutes is not None and history.working_seconds:
        steps = sum("task" in line for line in read_history(run.history))
        facts["training"] = f"{minutes:.1f} min, {steps} steps, {history.steps_per_second:.2f} steps/s"
        facts["waiting for data"] = f"{100 * history.waiting_share:.1f} % of the steps' time"
    clips = sum(board.clips.values())
    facts["test"] = f"{seconds:.1f} s for {clips} clips, with baselines, silence and other sounds"
    return facts


def hardware() -> str:
    """The device's name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def provenance(run: RunFolder, checkpoint: Path, seed: Any) -> dict[str, str]:
    """Where the figures come from."""
    facts = run.read_facts()
    digest = hashlib.sha256(checkpoint.with_suffix(".safetensors").read_bytes()).hexdigest()
    return {
        "command": shlex.join(facts["command"]),
        "config": str(run.config),
        "checkpoint": f"{checkpoint.stem}, sha256 {digest[:16]}",
        "seed": str(seed),
        "commit": facts.get("commit", "") or "not in a git checkout",
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions().items()),
    }


def notes(model: AVModel) -> list[str]:
    """What metrics have to say, and what the columns mean."""
    said = [f"{name} {metric}: {text}" for name in model.tasks for metric, text in model.board.notes(name).items()]
    said += [f"{name}: {text}" for name, task in model.tasks.items() for text in task.notes()]
    return list(dict.fromkeys(said))
