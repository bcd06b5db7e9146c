# SPDX-License-Identifier: Apache-2.0
"""Lightning's command line over our model and data, shared by fit, validate and test."""

import json
import subprocess
import sys
import warnings
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from avkit import __version__
from avkit.datamodule import AVDataModule
from avkit.files import write_file
from avkit.model import AVModel, check_same
from avkit.runs import RunFolder
from avkit.tasks import find_task, split_names
from avkit.training import AtomicCheckpointIO, callbacks

#: What a trainer of ours differs in from Lightning's.
TRAINER = {
    "max_epochs": 2,
    "devices": 1,
    "gradient_clip_val": 1.0,
    "logger": False,
    "enable_checkpointing": True,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}


def task_fields(tasks: str) -> dict[str, Any]:
    """What each task needs and may use of the data, by task."""
    found = {name: find_task(name) for name in split_names(tasks)}
    return {
        name: {
            "needs": list(task.reads),
            "may": list(task.may_read),
            "each": list(task.learns_from or task.reads),
            "stepwise": task.stepwise,
            "need": task.need,
        }
        for name, task in found.items()
    }


def no_gpu(accelerator: str, option: str = "") -> str | None:
    """Why an accelerator that was asked for by `option` cannot be had, or None."""
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        built = "this torch is a CPU build" if torch.version.cuda is None else "no NVIDIA driver or device was found"
        asked = option or f"--trainer.accelerator {accelerator}"
        return (
            f"{asked} asks for a GPU and there is none: {built} (torch {torch.__version__}). "
            "Leave it out to train on the CPU, or install a CUDA build of torch."
        )
    return None


class AVCLI(LightningCLI):
    """`--tasks` goes to model and data; the data's vocabulary goes to the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are neither Lightning's nor the model's nor the data's."""
        parser.add_argument("--tasks", type=str, default="all", help="task names, separated by commas, or all")
        parser.add_argument(
            "--name", type=str, default="", help="name of the run's folder; made of tasks and data if empty"
        )
        parser.add_argument("--out", type=str, default="runs", help="folder of all runs")
        parser.add_argument("--ckpt_path", type=str, default=None, help="checkpoint to resume from; 'last' finds it")
        parser.add_argument("--save_minutes", type=float, default=2.0, help="minutes between two saves of last.ckpt")
        parser.add_argument(
            "--save_steps", type=int, default=0, help="steps between two saves of last.ckpt, beside the clock"
        )
        parser.add_argument("--report", type=bool, default=True, help="test the best checkpoint and write the report")
        parser.link_arguments("tasks", "model.tasks")
        parser.link_arguments("tasks", "data.tasks")
        parser.link_arguments("tasks", "data.fields", compute_fn=task_fields)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=lambda seed: seed if type(seed) is int else 0)
        parser.link_arguments("data.vocabulary", "model.vocabulary", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Check what would otherwise fail late or in Lightning's words."""
        split_names(self.config.tasks)
        if (reason := no_gpu(str(self.config.trainer.accelerator))) is not None:
            raise ValueError(reason)

    def attach(self, run: RunFolder, training: bool) -> None:
        """Give the trainer the run's folder, our checkpoints and, for training, our callbacks."""
        trainer: L.Trainer = self.trainer
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        if training:
            minutes, steps = self.config.save_minutes, self.config.save_steps
            theirs = ("ModelCheckpoint", "TQDMProgressBar", "RichProgressBar")
            kept = [c for c in trainer.callbacks if type(c).__name__ not in theirs]  # type: ignore[attr-defined]
            ours = callbacks(run, minutes, steps)
            trainer.callbacks = trainer._callback_connector._reorder_callbacks([*kept, *ours])  # type: ignore[attr-defined]

    def write_facts(self, run: RunFolder, args: list[str]) -> None:
        """Keep the config, and what a reader of the run must know."""
        write_file(run.config, self.parser.dump(self.config, skip_none=False))
        write_file(
            run.facts,
            json.dumps(
                {
                    "command": ["avkit", "fit", *args],
                    "tasks": list(self.model.tasks),
                    "vocabulary": asdict(self.model.vocabulary),
                    "dataset": self.datamodule.dataset,
                    "picture": self.datamodule.picture,
                    "seed": self.config.seed_everything,
                    "commit": commit(),
                    "versions": versions(),
                },
                indent=1,
            ),
        )


def make_cli(args: list[str]) -> AVCLI:
    """Parse and build trainer, model and data."""
    quiet()
    return AVCLI(
        AVModel,
        AVDataModule,
        run=False,
        args=args,
        save_config_callback=None,
        seed_everything_default=0,
        trainer_defaults=TRAINER,
        parser_kwargs={"prog": "avkit fit", "default_env": False},
    )


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    names = ("torch", "lightning", "torchmetrics", "timm", "open_clip_torch", "av", "numpy", "pycocoevalcap")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {"avkit": __version__, "python": sys.version.split()[0], **found}


def commit() -> str:
    """The commit of the checkout that avkit is imported from, with a mark if it was changed; empty outside of one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def run_name(config: Any, data: AVDataModule) -> str:
    """The name given, or tasks and data."""
    source = Path(data.manifest).stem if data.manifest else data.dataset
    return config.name or f"{'-'.join(split_names(config.tasks))}-{source}"


def quiet() -> None:
    """Silence advice of Lightning that does not apply to us."""
    import logging

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*num_workers.*",
        ".*LeafSpec.*",
        ".*Trying to infer the `batch_size`.*",
        ".*configure_optimizers.*",
        ".*max_epochs.*",
        ".*args parameter is intended.*",
        ".*exists and is not empty.*",
        ".*callbacks used to create the checkpoint.*",
        ".*dirpath has changed.*",
    ):
        warnings.filterwarnings("ignore", text)


def open_run(command: str, args: list[str]) -> tuple[AVCLI, RunFolder]:
    """Trainer, model and data of a run, from its config and options that replace parts of it.

    Raises:
        ValueError: If no run is named.
        RunError: If it is no run, or the data speak another vocabulary than the run's.
    """
    if not args or args[0].startswith("-"):
        raise ValueError(f"Name a run: avkit {command} runs/NAME [options].")
    run = RunFolder(args[0])
    facts = run.read_facts()
    cli = make_cli(["--config", str(run.config), "--ckpt_path", "null", *args[1:]])
    check_same(facts, list(cli.model.tasks), cli.model.vocabulary)
    cli.attach(run, training=False)
    return cli, run
