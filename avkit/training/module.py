# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: a system, several tasks, one task per batch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

from avkit.batch import Batch, FeatureWidths, Prediction, Vocabulary
from avkit.errors import RunError, unknown_name
from avkit.outside import building
from avkit.systems import make_config
from avkit.systems.base import Encoded, RunContext, SystemConfig
from avkit.systems.encoder_weights import check_encoder_weights
from avkit.tasks import split_names
from avkit.text.tokenizer import unique_words
from avkit.training.balancing import BALANCES, GradientSurgery, UncertaintyWeights
from avkit.training.benchmarks import make_benchmarks
from avkit.training.checkpoint_fit import check_same
from avkit.training.earlier_weights import check_names
from avkit.training.finite_check import FiniteCheck, WatchedStep
from avkit.training.processes import gathered
from avkit.training.random_state import random_state, restore_random_state
from avkit.training.schedule import SCHEDULES, fuses, groups, rate_factor
from avkit.training.scored_module import ScoredModule
from avkit.training.step_losses import StepLosses
from avkit.training.total_steps import total_steps

#: Values of `--model.interface`.
INTERFACES = ("heads", "sequence")


class AVModel(ScoredModule):
    """Several tasks on one system.

    Args:
        tasks: Task names, separated by commas; set by `--tasks`.
        vocabulary: The dataset's classes, answers and words; set by the command line from the data.
        system: Options of a system, see `avkit.systems`; AV-Unified's defaults where None.
        heads: Head of each task by name, such as `davel: ccnet`, or a mapping with `name` and the head's options; the
            task's default where not named. See `avkit.list_heads`.
        interface: `heads` gives each task a head of its own; `sequence` has one decoder write all answers as tokens.
        prompts: Text given to the text encoder instead of a task's own prompt, by task.
        lr: Learning rate after warm-up.
        weight_decay: Of AdamW, on matrices alone.
        warmup: Share of all steps in which the learning rate rises; then it falls as a cosine.
        schedule: How it rises and falls: `cosine`, or `late_cosine`, which loses the first step as ActionFormer's does.
        betas: Of AdamW.
        loss_weights: Factor of each task's loss, 1 where not named.
        balance: `fixed` leaves it at that; `uncertainty` learns a further factor per task, see `UncertaintyWeights`.
        surgery: Project each step's gradient of the shared parameters off other tasks' conflicting gradients, see
            `GradientSurgery`.
        benchmarks: Vocabulary of each dataset of the tasks that have several, by benchmark such as avs/avsbench-s4; set
            by the command line from the data. Each is scored with its own classes and answers.
        features: Widths of the stored visual and audio features that each task reads, 0 for pictures and sound; set by
            the command line from the data.
        expert: Width of the stored features of a vision-language model; set by the command line from the data.
        compile: Compile training steps by `torch.compile`. The first step of each task then takes a minute or more, and
            numbers that are drawn in a step are others than without.
    """

    def __init__(
        self,
        tasks: str = "",
        vocabulary: Vocabulary | None = None,
        system: SystemConfig | None = None,
        heads: dict[str, str | dict[str, Any]] | None = None,
        interface: str = "heads",
        prompts: dict[str, str] | None = None,
        lr: float = 1.2e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        schedule: str = "cosine",
        betas: Sequence[float] = (0.9, 0.98),
        loss_weights: dict[str, float] | None = None,
        balance: str = "fixed",
        surgery: bool = False,
        benchmarks: dict[str, Vocabulary] | None = None,
        features: dict[str, list[int]] | None = None,
        expert: int | None = None,
        compile: bool = False,
    ) -> None:
        _check_choice("balance", balance, BALANCES)
        _check_choice("interface", interface, INTERFACES)
        _check_choice("schedule", schedule, SCHEDULES)
        config = system or make_config(None)
        names = split_names(tasks)
        for option, given in (("prompts", prompts), ("loss_weights", loss_weights), ("heads", heads)):
            _check_tasks(option, given, names)
        if not config.pluggable_heads and (heads or interface != "heads"):
            raise ValueError(
                f"System {config.name} answers with its own network: leave model.heads and model.interface out, or use "
                "--model.system.name av_unified."
            )
        whole_vocabulary = config.extend_vocabulary(vocabulary or Vocabulary())
        tasks_by_name = config.make_tasks(names, whole_vocabulary)
        super().__init__(make_benchmarks(config, tasks_by_name, benchmarks or {}))
        self.vocabulary = whole_vocabulary
        self.tasks = tasks_by_name
        self.prompts = {name: task.prompt for name, task in self.tasks.items()} | (prompts or {})
        self.features = {name: list(config.stored_features()) for name in names} if features is None else features
        self.expert = expert
        self.loss_weights = loss_weights or {}
        self.balance = UncertaintyWeights(names) if balance == "uncertainty" else None
        self.surgery = GradientSurgery() if surgery else None
        self.finite = FiniteCheck()
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule = schedule
        self.betas = betas
        context = RunContext(
            tasks=self.tasks,
            vocabulary=replace(self.vocabulary, words=self._all_words()),
            features={name: FeatureWidths(*widths) for name, widths in self.features.items()},
            expert_width=expert or 0,
            prompts=self.prompts,
            heads=heads or {},
            interface=interface,
        )
        with building("system", type(config)):
            self.system = config.build(context)
        self._losses = StepLosses(self.system, compiled=compile)
        self._random_state: dict[str, torch.Tensor] | None = None
        self._sharded = False

    def configure_model(self) -> None:
        """Spread the weights over processes, where the strategy asks for it."""
        if self.device_mesh is None or self._sharded:
            return
        if self._losses.compiled:
            raise ValueError("model.compile is true, and strategy fsdp2 takes plain steps. Leave one of them out.")
        from avkit.training.fsdp2 import shard_system

        shard_system(self.system, self.device_mesh["data_parallel"])
        self._sharded = True

    def _all_words(self) -> list[str]:
        """The dataset's words and those of the prompts."""
        words = self.vocabulary.words
        known = set(words)
        return [*words, *(word for word in unique_words(self.prompts.values()) if word not in known)]

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Prediction:
        """The answer of the batch's task in the user's units; `encoded` where the encoders have run before."""
        return self.system.predict(self.system(batch, encoded), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """The loss of the batch's task, and its parts.

        Raises:
            DivergedError: If the loss of this step, or of one of the last ones, is not a finite number.
        """
        self.current_task = batch.task
        losses = self._losses(batch)
        detached = {name: value.detach() for name, value in losses.items()}
        self.finite.watch(WatchedStep(detached, self.global_step, batch.benchmark, batch.id[:4], self.lr))
        parts = {f"train/{batch.benchmark}/{name}": value for name, value in detached.items()}
        self.log_dict(parts, batch_size=len(batch), on_step=True, on_epoch=False)
        loss = losses["loss"] * self.loss_weights.get(batch.task, 1.0)
        if self.balance is not None:
            loss = self.balance(batch.task, loss)
        return {"loss": loss, "parts": parts}

    def on_train_epoch_start(self) -> None:
        """Tell the system how far training is."""
        self.system.on_epoch_start(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tell the system the step; restore a checkpoint's random state, so late that nothing draws before."""
        self.system.on_step_start(self.global_step)
        self._restore_random_state()

    def on_validation_start(self) -> None:
        """Look at the last losses; restore a checkpoint's random state, where training goes on with a validation."""
        self.finite.settle()
        if self.trainer.state.fn == "fit":
            self._restore_random_state()

    def _restore_random_state(self) -> None:
        if self._random_state is not None:
            restore_random_state(self._random_state)
            self._random_state = None

    def on_after_backward(self) -> None:
        """Gradient surgery, where it is asked for."""
        if self.surgery is None:
            return
        self.surgery.operate(self.current_task, self.system.shared_parameters())

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a schedule per step; `--optimizer` and `--lr_scheduler` replace them."""
        check_encoder_weights(self.system)
        optimizer = torch.optim.AdamW(
            groups(self.parameters(), self.weight_decay),
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            fused=fuses(str(self.trainer.precision)),
        )
        factor = rate_factor(self.schedule, self.warmup, total_steps(self.trainer))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_end(self) -> None:
        """Look at the last losses."""
        self.finite.settle()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the tasks, their vocabulary, and the state of random numbers, unless a loss was no finite number."""
        self.finite.settle()
        checkpoint["avkit"] = {"tasks": list(self.tasks), "vocabulary": asdict(self.vocabulary)}
        checkpoint["random"] = gathered(self._random_state or random_state())  # one not restored yet is still valid
        if self.surgery is not None:
            checkpoint["surgery"] = self.surgery.last

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other tasks or another vocabulary; keep its random state for the first step.

        Raises:
            RunError: If the checkpoint does not fit.
        """
        facts = checkpoint.get("avkit")
        if not facts:
            raise RunError("This checkpoint was not written by avkit: it does not name its tasks.")
        check_same(facts, list(self.tasks), self.vocabulary)
        check_names("This checkpoint", self.state_dict(), checkpoint["state_dict"])
        if self.surgery is not None:
            self.surgery.last = {k: x.to(self.device) for k, x in checkpoint.get("surgery", {}).items()}
        states = checkpoint["random"]
        self._random_state = states[self.trainer.global_rank % len(states)]


def _check_choice(option: str, given: str, accepted: Sequence[str] | Mapping[str, object]) -> None:
    if given not in accepted:
        raise unknown_name(option, given, accepted)


def _check_tasks(option: str, given: Mapping[str, object] | None, tasks: Sequence[str]) -> None:
    unknown = sorted(set(given or {}) - set(tasks))
    if unknown:
        raise ValueError(f"{option} names {', '.join(unknown)}; the tasks of this run are {', '.join(tasks)}.")
