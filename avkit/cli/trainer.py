# SPDX-License-Identifier: Apache-2.0
"""Lightning's command line over avkit's model and data, shared by fit, validate and test."""

import json
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import register_type
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import DDPStrategy

from avkit.batch import Vocabulary
from avkit.cli.dataset_option import check_dataset_option
from avkit.cli.fewer_tasks import leave_out_other_tasks
from avkit.cli.given_callbacks import given_callbacks
from avkit.cli.launched import set_processes
from avkit.cli.lightning_setup import no_gpu, quiet
from avkit.cli.loggers import place_loggers, with_logger_folder
from avkit.cli.model_options import chosen_system, model_class, reads_whole_clips
from avkit.cli.option_errors import option_error
from avkit.cli.provenance import commit, versions
from avkit.cli.rank import process_rank
from avkit.cli.recipe_files import recipe_files
from avkit.cli.renamed import refuse_renamed_fit_options
from avkit.cli.run_config import EVALUATION, check_config_files, with_recipe_files
from avkit.cli.threads import leave_cores_to_workers
from avkit.cli.trainer_options import (
    check_evaluation_options,
    check_trainer_options,
    check_validations,
    set_epochs,
)
from avkit.cli.trust import without_switches
from avkit.files import write_file
from avkit.systems.encoder_weights import weights_facts
from avkit.tasks import split_names
from avkit.training.callbacks import AtomicCheckpointIO, training_callbacks
from avkit.training.datamodule import AVDataModule
from avkit.training.domain import domains_of
from avkit.training.fsdp2 import FSDP2, register_fsdp2
from avkit.training.lightning_signals import SignalConnector
from avkit.training.limits import BatchLimits
from avkit.training.module import AVModel
from avkit.training.progress import use_lines
from avkit.training.run_folder import FORMAT, RunFacts, RunFolder
from avkit.training.stored_facts import stored_record

#: Defaults of the trainer that differ from Lightning's.
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


#: How options are read: whole names, errors that are raised.
PARSER = {
    "prog": "avkit fit",
    "default_env": False,
    "exit_on_error": False,
    "allow_abbrev": False,
    "epilog": "--debug shows where an error comes from. --trust imports parts from outside avkit that the config of a "
    "run names.",
}
register_type(torch.device, str, torch.device)  # so that a config that names a device can be read again


class AVCLI(LightningCLI):
    """Builds trainer, model and data from options; the model also gets the vocabulary and feature widths of the data.

    Args:
        args: Words of the command.
        training: Whether the options are those of a training.
        testing: Whether they are those of a test or a validation.
        run_vocabulary: Vocabulary of the run that is tested.
    """

    model: AVModel
    datamodule: AVDataModule

    def __init__(
        self,
        args: Sequence[str],
        *,
        training: bool = False,
        testing: bool = False,
        run_vocabulary: Vocabulary | None = None,
    ) -> None:
        self.args = args
        self.run_vocabulary = run_vocabulary
        self.training = training
        self.testing = testing
        try:
            super().__init__(
                model_class(chosen_system(args)),
                AVDataModule,
                run=False,
                args=list(args),
                save_config_callback=None,
                seed_everything_default=0,
                trainer_defaults=TRAINER,
                parser_kwargs=PARSER,
            )
        except ArgumentError as error:
            raise option_error(str(error), self.parser.get_defaults(skip_validation=True).keys()) from error
        except ValueError as error:  # jsonargparse puts what the data raised behind a text about its own link
            if str(error).startswith("Call to compute_fn") and error.__cause__ is not None:
                raise error.__cause__ from None
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that belong neither to Lightning nor to the model nor to the data."""
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
        parser.add_argument(
            "--save_predictions",
            type=bool,
            default=True,
            help="write what was predicted for each test sample to predictions.jsonl beside the report, in the form "
            "that 'avkit score' reads; masks are run-length encoded",
        )
        parser.add_argument(
            "--seeds",
            type=str | None,
            default=None,
            help="train and test with each of several seeds, a number of them or a list such as 0,1,2, in one folder, "
            "and print mean and standard deviation; the same command goes on where it was stopped",
        )
        parser.link_arguments("tasks", "model.tasks")
        parser.link_arguments("tasks", "data.tasks")
        parser.link_arguments("model.system.name", "data.whole_clips", compute_fn=reads_whole_clips)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=lambda seed: seed if type(seed) is int else 0)
        parser.link_arguments("data", "model.vocabulary", compute_fn=self._vocabulary, apply_on="instantiate")
        parser.link_arguments("data.benchmark_vocabularies", "model.benchmarks", apply_on="instantiate")
        parser.link_arguments("data.feature_widths", "model.features", apply_on="instantiate")
        parser.link_arguments("data.expert_width", "model.expert", apply_on="instantiate")

    def _vocabulary(self, data: AVDataModule) -> Vocabulary:
        """The vocabulary of the data, or of the run that is tested on a manifest of test clips alone."""
        if self.run_vocabulary is not None:
            data.use_vocabulary(self.run_vocabulary)
        return data.vocabulary

    def before_instantiate_classes(self) -> None:
        """Check tasks, hardware, and what the trainer is asked for."""
        split_names(self.config.tasks)
        trainer = self.config.trainer
        if self.training:
            own_schedule = self.config.optimizer is not None
            set_epochs(trainer, self.args, own_schedule=own_schedule)
            model = self.config.model
            check_trainer_options(trainer, report=self.config.report, surgery=model.surgery, balance=model.balance)
        if self.testing:
            check_evaluation_options(trainer)
        reason = no_gpu(str(trainer.accelerator))
        if reason is not None:
            raise ValueError(reason)
        set_processes(trainer, self.args)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer; the data module counts batches, for each task by itself."""
        given = self.config.trainer
        self.datamodule.limit(
            BatchLimits(
                given.limit_train_batches,
                given.limit_val_batches,
                given.limit_test_batches,
                given.overfit_batches,
            )
        )
        if self.training:
            check_validations(given, self.datamodule.steps)
        all_batches = {"limit_train_batches": None, "limit_test_batches": None, "overfit_batches": 0.0}
        no_validation = given.limit_val_batches == 0 and not given.overfit_batches
        if given.strategy == FSDP2:
            register_fsdp2()
        trainer = super().instantiate_trainer(**all_batches, limit_val_batches=0 if no_validation else None, **kwargs)
        if given.strategy == "auto" and isinstance(trainer.strategy, DDPStrategy):
            trainer.strategy._ddp_kwargs["find_unused_parameters"] = True  # a step's gradients reach one task's head
        return trainer

    def evaluation_trainer(self) -> L.Trainer:
        """A trainer of the same processes, without what acts on training, as `avkit test` makes one."""
        options = {name: self.config.trainer[name] for name in EVALUATION if not name.startswith("limit_")}
        processes = {name: self.config.trainer[name] for name in ("devices", "num_nodes")}
        trainer = L.Trainer(**{**TRAINER, **options, **processes})
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        trainer._signal_connector = SignalConnector(trainer)
        use_lines(trainer)
        return trainer

    def attach(self, run: RunFolder, *, training: bool) -> None:
        """Have the trainer write avkit's checkpoints, and in training use avkit's callbacks with a run's folder."""
        trainer: L.Trainer = self.trainer
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        trainer._signal_connector = SignalConnector(trainer)
        given = self.config.trainer
        if not training:
            if not given.callbacks:
                use_lines(trainer)
            return
        if trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu":
            leave_cores_to_workers(self.datamodule.loader.workers)
        if given.default_root_dir is None:
            vars(trainer)["_default_root_dir"] = str(run.path)
        if given.logger:
            place_loggers(trainer, run, given.logger)
        added = training_callbacks(
            run,
            self.config.save_minutes,
            self.config.save_steps,
            main_process=trainer.is_global_zero,
            tests=self.config.report,
        )
        kept = given_callbacks(trainer, self.config_init.trainer.callbacks, run)
        if not given.enable_checkpointing:
            added = [callback for callback in added if not isinstance(callback, Checkpoint)]
        elif trainer.limit_val_batches == 0:
            added = [callback for callback in added if not isinstance(callback, ModelCheckpoint)]
        if given.enable_progress_bar is False or any(isinstance(callback, ProgressBar) for callback in kept):
            added = [callback for callback in added if not isinstance(callback, ProgressBar)]
        vars(trainer)["callbacks"] = trainer._callback_connector._reorder_callbacks([*kept, *added])

    def write_facts(self, run: RunFolder, args: Sequence[str], command: Sequence[str] = ("fit",)) -> None:
        """Write the config of a run, and the facts that readers of the run need.

        Args:
            run: Its folder.
            args: Options of the command that makes it.
            command: The words before them.
        """
        write_file(run.config, self.parser.dump(self.config, skip_none=False))
        facts: RunFacts = {
            "format": FORMAT,
            "command": ["avkit", *command, *args],
            "tasks": list(self.model.tasks),
            "vocabulary": asdict(self.model.vocabulary),
            "dataset": self.datamodule.dataset,
            "features": self.model.features,
            "expert": self.model.expert,
            "image_size": self.datamodule.sources.image_size,
            "splits": self.datamodule.split_facts(),
            "seed": self.config.seed_everything,
            "commit": commit(),
            "versions": versions(),
            "domains": domains_of(
                self.datamodule.dataset_names, self.datamodule.sources.root, self.datamodule.sources.manifest
            ),
            "weights": [asdict(facts) for facts in weights_facts(self.model.system)],
            "stored": stored_record(self.datamodule),
            "recipe": recipe_files(args),
            "hops": self.datamodule.hops(),
        }
        write_file(run.facts, json.dumps(facts, indent=1))


def make_cli(
    args: Sequence[str],
    *,
    training: bool = False,
    testing: bool = False,
    run_vocabulary: Vocabulary | None = None,
) -> AVCLI:
    """Parse options, and build trainer, model and data.

    Args:
        args: Words of the command.
        training: Whether the options are those of a training.
        testing: Whether they are those of a test or a validation.
        run_vocabulary: Vocabulary of the run that is tested.

    Raises:
        ValueError: If an option has been renamed, or has a wrong value.
    """
    quiet()
    args, notes = leave_out_other_tasks(with_recipe_files(args))
    for note in [] if process_rank() else notes:
        print(note, file=sys.stderr)
    words = with_logger_folder(without_switches(check_config_files(args)))
    refuse_renamed_fit_options(words)
    check_dataset_option(args)
    return AVCLI(words, training=training, testing=testing, run_vocabulary=run_vocabulary)


def run_name(cli: AVCLI) -> str:
    """The name of a run's folder: the given one, else tasks and data."""
    if cli.config.name:
        return str(cli.config.name)
    data = cli.datamodule
    source = data.sources.manifest.stem if data.sources.manifest else data.dataset
    name = f"{'-'.join(split_names(cli.config.tasks))}-{source}"
    return name.replace(":", ".")  # of classes from outside; not every file system allows it
