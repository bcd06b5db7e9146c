# SPDX-License-Identifier: Apache-2.0
"""Lightning's command line over our model and data, shared by fit, validate and test."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from avkit import __version__
from avkit.cli import processes
from avkit.files import write_file
from avkit.systems import DEFAULT, find_config
from avkit.tasks import find_task, split_names
from avkit.training.callbacks import AtomicCheckpointIO, callbacks
from avkit.training.datamodule import AVDataModule
from avkit.training.module import AVModel, check_same
from avkit.training.run_folder import RunFolder

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


def task_fields(tasks: str, system: str = DEFAULT) -> dict[str, Any]:
    """What each task needs and may use of the data, by task; there are systems that read clips whole."""
    whole = getattr(find_config(system), "whole", False)
    found = {name: find_task(name) for name in split_names(tasks)}
    return {
        name: {
            "needs": list(task.targets),
            "may": list(task.optional),
            "scored": list(task.evaluation_only),
            "each": list(task.training_targets()),
            "stepwise": task.stepwise and not whole,
            "untrimmed": task.untrimmed,
            "need": task.sampling_weight,
            "late": task.weakly_supervised,
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
    """`--tasks` goes to model and data; the data's vocabulary goes to the model.

    Args:
        words: Of a command that trains, in as many processes as pay; without them there is one process.
    """

    def __init__(self, *args: Any, words: list[str] | None = None, **kwargs: Any) -> None:
        self.words = words
        #: Threads of this process, before several had to share the cores.
        self.threads = torch.get_num_threads()
        #: The processes that train together with this one.
        self.others = processes.Processes([], 1)
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            self.others.end()
            raise

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
        parser.link_arguments(("tasks", "model.system.name"), "data.fields", compute_fn=task_fields)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=lambda seed: seed if type(seed) is int else 0)
        parser.link_arguments("data.vocabulary", "model.vocabulary", apply_on="instantiate")
        parser.link_arguments("data.features", "model.features", apply_on="instantiate")
        parser.link_arguments("data.expert_width", "model.expert", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Check what would otherwise fail late or in Lightning's words."""
        split_names(self.config.tasks)
        trainer = self.config.trainer
        if (reason := no_gpu(str(trainer.accelerator))) is not None:
            raise ValueError(reason)
        count = self._processes() if self.words else 1
        if count > 1:
            trainer.devices = count
            trainer.strategy = "ddp_find_unused_parameters_true"  # a step's gradients reach one task's head alone
            torch.set_num_threads(max(1, self.threads // count))
            if self.words and not processes.rank():
                self.others = processes.Processes(self.words, count)
        elif not isinstance(trainer.devices, list):  # such as [1], which names a GPU
            trainer.devices, trainer.strategy = 1, "auto"

    def _processes(self) -> int:
        """How many processes train together: as many as devices were asked for.

        Raises:
            ValueError: If devices are no number, or a batch cannot be shared out to as many.
        """
        data, devices = self.config.data, self.config.trainer.devices
        if processes.COUNT in os.environ:  # this is one of them
            return int(os.environ[processes.COUNT])
        if "LOCAL_RANK" in os.environ:
            raise ValueError("avkit fit starts its processes itself. Start it once, with --trainer.devices NUMBER.")
        if isinstance(devices, list) and len(devices) == 1:
            return 1
        if not str(devices).isdigit() or not int(devices):
            raise ValueError(f"trainer.devices is {devices!r}; it takes a number of processes, or [GPU].")
        for name in ("batch_size", "whole_batch", "long_batch"):
            if data[name] % int(devices):
                raise ValueError(
                    f"data.{name} is {data[name]}, which {devices} processes cannot share evenly. Give a multiple of "
                    f"{devices}, or another --trainer.devices."
                )
        return int(devices)

    def alone(self) -> L.Trainer:
        """A trainer of this process alone, for what comes after training."""
        given = self.config.trainer
        kept = ("accelerator", "precision", "enable_progress_bar", "default_root_dir", "limit_test_batches")
        trainer = L.Trainer(**{**TRAINER, **{name: given[name] for name in kept}, "devices": 1})
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        return trainer

    def attach(self, run: RunFolder, training: bool) -> None:
        """Give the trainer the run's folder, our checkpoints and, for training, our callbacks."""
        trainer: L.Trainer = self.trainer
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        if training:
            minutes, steps = self.config.save_minutes, self.config.save_steps
            theirs = ("ModelCheckpoint", "TQDMProgressBar", "RichProgressBar")
            kept = [c for c in trainer.callbacks if type(c).__name__ not in theirs]  # type: ignore[attr-defined]
            ours = callbacks(run, minutes, steps, first=processes.rank() == 0)
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
                    "features": self.model.features,
                    "expert": self.model.expert,
                    "picture": self.datamodule.picture,
                    "seed": self.config.seed_everything,
                    "commit": commit(),
                    "versions": versions(),
                },
                indent=1,
            ),
        )


def make_cli(args: list[str], training: bool = False) -> AVCLI:
    """Parse and build trainer, model and data; `training` starts the processes that train together with this one."""
    quiet()
    return AVCLI(
        model_of(chosen_system(args)),
        AVDataModule,
        words=["fit", *args] if training else None,
        run=False,
        args=args,
        save_config_callback=None,
        seed_everything_default=0,
        trainer_defaults=TRAINER,
        parser_kwargs={"prog": "avkit fit", "default_env": False},
    )


def chosen_system(args: list[str]) -> str:
    """The system that the words of a command name, by option or in a config file; the last one counts."""
    name, option = DEFAULT, "--model.system.name"
    for word, following in zip(args, [*args[1:], ""], strict=True):
        key, _, value = word.partition("=")
        value = value or following
        if key == option:
            name = value
        elif key in ("--config", "-c") and Path(value).is_file():
            try:
                found = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):  # the parser will say so
                continue
            for part in ("model", "system", "name"):
                found = found.get(part) if isinstance(found, dict) else None
            name = found or name
    return str(name)


def model_of(system: str) -> type[AVModel]:
    """The model with the options of one system, so that the command line takes those and no others.

    Raises:
        ValueError: If the system is unknown.
    """
    config = find_config(system)

    class Model(AVModel):
        def __init__(self, system: Any = config(), **kwargs: Any) -> None:  # noqa: B008, the parser shows it
            super().__init__(system=system, **kwargs)

    Model.__init__.__annotations__["system"] = config
    Model.__doc__ = AVModel.__doc__
    return Model


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

    for name in ("pytorch.utilities.rank_zero", "fabric.utilities.seed", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
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
        ".*sync_dist=True.*",
        ".*was called before the ``update`` method.*",
        ".*Grad strides do not match.*",
        ".*find_unused_parameters=True was specified.*",
        ".*in eval mode at the start of training.*",
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
