# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: a system, one head per task, one task per batch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from avkit.batch import Batch, Prediction, Tokens, Vocabulary
from avkit.errors import DivergedError, RunError, unknown_name
from avkit.heads.codec import Codec
from avkit.heads.sequence import SequenceHead
from avkit.systems import make_config
from avkit.systems.base import Senses, SystemConfig
from avkit.tasks import split_names
from avkit.tasks.base import Baseline
from avkit.text.tokenizer import unique_words
from avkit.training.balancing import BALANCES, GradientSurgery, UncertaintyWeights
from avkit.training.evaluator import Evaluator, silence, swap_audio
from avkit.training.schedule import SCHEDULES, groups

#: What `--model.interface` takes.
INTERFACES = ("heads", "sequence")


class AVModel(L.LightningModule):
    """Several tasks on one system.

    Args:
        tasks: Task names, separated by commas; set by `--tasks`.
        vocabulary: The dataset's classes, answers and words; set by the command line from the data.
        system: What the shared part is made of: a config of `avkit.systems`, AV-Unified's default where None.
        prompts: Text given to the text encoder instead of a task's own prompt, by task.
        lr: Learning rate after warm-up.
        weight_decay: Of AdamW, on matrices alone.
        warmup: Share of all steps in which the learning rate rises; then it falls as a cosine.
        schedule: How it rises and falls: `cosine`, or `late_cosine`, which loses the first step as ActionFormer's does.
        betas: Of AdamW.
        loss_weights: Factor of each task's loss, 1 where not named.
        interface: `heads` gives each task a head of its own; `sequence` has one decoder write all answers as tokens.
        balance: `fixed` leaves it at that; `uncertainty` learns a further factor per task, see `UncertaintyWeights`.
        surgery: Take out of each step's gradient of the shared part what opposes other tasks, see `GradientSurgery`.
        features: Widths of the stored visual and audio features that each task reads, 0 for pictures and sound; set by
            the command line from the data.
        expert: Width of the features of a vision-language model, for systems with an expert of captions; set by the
            command line from the data.
    """

    def __init__(
        self,
        tasks: str = "",
        vocabulary: Vocabulary | None = None,
        system: SystemConfig | None = None,
        prompts: dict[str, str] | None = None,
        lr: float = 1.2e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        schedule: str = "cosine",
        betas: Sequence[float] = (0.9, 0.98),
        loss_weights: dict[str, float] | None = None,
        interface: str = "heads",
        balance: str = "fixed",
        surgery: bool = False,
        features: dict[str, list[int]] | None = None,
        expert: int | None = None,
    ) -> None:
        super().__init__()
        for name, given, known in (
            ("balance", balance, BALANCES),
            ("interface", interface, INTERFACES),
            ("schedule", schedule, SCHEDULES),
        ):
            if given not in known:
                raise unknown_name(name, given, known)
        config = system or make_config(None)
        self.vocabulary = config.speak(vocabulary or Vocabulary())
        self.expert = expert
        self.features = features or dict.fromkeys(split_names(tasks), _stored(config))
        self.tasks = config.tasks(split_names(tasks), self.vocabulary)
        self._check_names("prompts", prompts)
        self._check_names("loss_weights", loss_weights)
        self.prompts = {name: task.prompt for name, task in self.tasks.items()} | (prompts or {})
        self.loss_weights = loss_weights or {}
        self.balance = UncertaintyWeights(list(self.tasks)) if balance == "uncertainty" else None
        self.surgery = GradientSurgery() if surgery else None
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self.schedule, self.betas = schedule, betas
        spoken = Vocabulary(self.vocabulary.classes, self.vocabulary.answers, self._words())
        self.system: Any = config.build(spoken, self.features, expert)
        width = config.width
        self.decoder = self._decoder(width, spoken) if interface == "sequence" else None
        headed = {name: task for name, task in self.tasks.items() if self.decoder is None or task.weakly_supervised}
        self.heads = nn.ModuleDict({_key(name): task.head(width, self._pyramid(name)) for name, task in headed.items()})
        self.board = Evaluator(self.tasks, quick=True)
        #: Constant rules that `test` scores beside the model, by task and name.
        self.baselines: Mapping[str, Mapping[str, Baseline]] = {}
        #: Whether `test` scores the model with silence and with another clip's sound too.
        self.listen = True
        self._random: dict[str, Any] | None = None

    def _pyramid(self, task: str) -> list[int]:
        """Widths of the maps that a task's pictures have; none where features stand for pictures."""
        return [] if self.features[task][0] else self.system.pyramid_widths

    def _decoder(self, width: int, spoken: Vocabulary) -> SequenceHead:
        if self.vocabulary.tasks:
            raise ValueError(
                "Sequences have one vocabulary, and the tasks of this run read several datasets. Use --model.interface "
                "heads, or one dataset for all."
            )
        silent = [name for name, task in self.tasks.items() if not task.forms]
        if silent:
            raise ValueError(
                f"Task {', '.join(silent)} has no form of a sequence (`Task.forms`); use --model.interface heads."
            )
        forms = dict.fromkeys(form for task in self.tasks.values() for form in task.forms)
        return SequenceHead(width, Codec(spoken), list(forms))

    def _words(self) -> list[str]:
        """The dataset's words and those of the prompts."""
        known = set(self.vocabulary.words)
        return [*self.vocabulary.words, *(w for w in unique_words(self.prompts.values()) if w not in known)]

    def _check_names(self, what: str, given: Mapping[str, Any] | None) -> None:
        unknown = sorted(set(given or {}) - set(self.tasks))
        if unknown:
            raise ValueError(f"{what} names {', '.join(unknown)}; the tasks of this run are {', '.join(self.tasks)}.")

    def encode(self, batch: Batch, senses: Senses | None = None) -> Tokens:
        """The tokens of a batch, prompted by its questions where it has them, else by the task's prompt."""
        prompts = batch.text if batch.text is not None else [self.prompts[batch.task]] * len(batch)
        task = self.tasks[batch.task]
        meet = task.meet and not (self.training and task.pixels and self._apart())
        pixels = task.pixels and (self.decoder is None or self.decoder.per_step(task.forms))
        tokens: Tokens = self.system(batch, prompts, pixels, meet, senses, task.vocabulary.classes)
        return tokens

    def _apart(self) -> bool:
        """Whether this is a step in which sound and sight do not meet: evenly spread, and the same in all processes."""
        if all(task.meet for task in self.tasks.values()):
            return False
        step = self.trainer.global_step if self._trainer is not None else 0
        return (step + 1) * (5**0.5 - 1) / 2 % 1 < self.system.config.apart

    def forward(self, batch: Batch, senses: Senses | None = None) -> Prediction:
        """What the task of the batch answers, in the user's units; `senses` where the encoders have run before."""
        task, tokens = self.tasks[batch.task], self.encode(batch, senses)
        if self.decoder is None:
            return task.predict(self.heads[_key(batch.task)](tokens), batch)
        values: dict[str, Any] = {}
        for form in task.forms:
            values |= self.decoder.predict(tokens, form, batch)
        return Prediction(batch.task, batch.id, values)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The loss of the batch's task and its parts, by name; `loss` is the one to minimise."""
        task, tokens, fields = self.tasks[batch.task], self.encode(batch), batch.targets
        losses: dict[str, torch.Tensor] = {}
        if _key(batch.task) in self.heads:
            out = self.heads[_key(batch.task)](tokens, **task.inputs(batch))
            losses = task.loss(out, batch)
            if self.decoder is not None:
                fields = fields | task.teach(out, batch)
        if self.decoder is not None:
            told = {f"next in {form}": self.decoder.loss(tokens, form, fields, batch) for form in task.forms}
            losses = {**losses, **told, "loss": sum(told.values(), losses.get("loss", tokens.audio.new_zeros(())))}
        return losses

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """The loss of the batch's task, and its parts.

        Raises:
            DivergedError: If the loss is not a finite number.
        """
        name = self.current_task = batch.task
        losses = self.losses(batch)
        if not torch.isfinite(losses["loss"]):
            parts = ", ".join(f"{k} {v.item():g}" for k, v in losses.items())
            raise DivergedError(
                f"The loss of task {name!r} is not a finite number at step {self.global_step} ({parts}; clips "
                f"{', '.join(batch.id[:4])} ...). Lower --model.lr (now {self.lr:g}), or set "
                "--trainer.gradient_clip_val 1; the last checkpoint is from before this step."
            )
        shown = {f"train/{name}/{k}": v.detach() for k, v in losses.items()}
        self.log_dict(shown, batch_size=len(batch), on_step=True, on_epoch=False)
        loss = losses["loss"] * self.loss_weights.get(name, 1.0)
        return {"loss": loss if self.balance is None else self.balance(name, loss), "parts": shown}

    def on_train_epoch_start(self) -> None:
        """Tell the tasks how far training is, and a system that begins with a part of it frozen."""
        for task in self.tasks.values():
            task.epoch = self.current_epoch
        if hasattr(self.system, "begin_epoch"):
            self.system.begin_epoch(self.current_epoch)

    def on_after_backward(self) -> None:
        """Surgery, where it is wanted."""
        if self.surgery is not None:
            if self.trainer.accumulate_grad_batches > 1:
                raise ValueError("model.surgery works on single steps; set --trainer.accumulate_grad_batches 1.")
            self.surgery.operate(self.current_task, self.system.parameters())

    def on_validation_epoch_start(self) -> None:
        """Start a new board."""
        self.board = Evaluator(self.tasks, quick=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch."""
        self.board.update(self(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Log each task's figures, and their mean that chooses the best checkpoint."""
        score = []
        for name, task in self.tasks.items():
            figures = self.board.compute(name)
            shown = {f"val/{name}/{k}": v for k, v in figures.items() if k in {*task.headline, task.monitor}}
            self.log_dict(shown, sync_dist=False)
            score.append(figures.get(task.monitor, math.nan))
        self.log("val/score", sum(score) / len(score), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Start a new board with all official metrics."""
        self.board = Evaluator(self.tasks)
        for task in self.tasks.values():
            task.begin()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the model, what it says in silence and under another sound, and the baselines."""
        senses = self.system.sense(batch)
        self.board.update(self(batch, senses), batch)
        for name, rule in self.baselines.get(batch.task, {}).items():
            self.board.update(rule(batch), batch, f"baseline: {name}")
        if self.listen:
            for name, other in (("silence", silence(batch)), ("swapped", swap_audio(batch))):
                self.board.update(self(other, self.system.sense(other, senses.seen)), batch, name)

    def on_test_epoch_end(self) -> None:
        """Log each task's figures."""
        for name in self.tasks:
            self.log_dict({f"test/{name}/{k}": v for k, v in self.board.compute(name).items()}, sync_dist=False)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a schedule per step; `--optimizer` and `--lr_scheduler` replace them."""
        first, second = self.betas
        decay = groups(self.parameters(), self.weight_decay)
        fused = "mixed" not in str(self.trainer.precision)  # of a fused one Lightning clips no scaled gradients
        optimizer = torch.optim.AdamW(decay, lr=self.lr, betas=(first, second), fused=fused)
        total = self._total_steps()
        rise, factor = max(1, round(self.warmup * total)), SCHEDULES[self.schedule]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, rise, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _total_steps(self) -> int:
        """Optimiser steps of the whole run.

        Lightning's own estimate would open the training loader before a checkpoint has told it where to go on, so it is
        asked only where the data do not know their length.
        """
        trainer, data = self.trainer, vars(self.trainer).get("datamodule")
        if trainer.max_steps > 0:
            return trainer.max_steps
        if trainer.max_epochs and trainer.max_epochs > 0 and data is not None and hasattr(data, "steps"):
            return max(1, trainer.max_epochs * data.steps // trainer.accumulate_grad_batches)
        return max(1, int(trainer.estimated_stepping_batches))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the tasks and heads mean, and the state of the random numbers."""
        checkpoint["avkit"] = {"tasks": list(self.tasks), "vocabulary": asdict(self.vocabulary)}
        checkpoint["random"] = gather(_random_state())
        if self.surgery is not None:
            checkpoint["surgery"] = self.surgery.last

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other tasks or another vocabulary; keep its random numbers for the first step.

        Raises:
            RunError: If the checkpoint does not fit.
        """
        facts = checkpoint.get("avkit")
        if not facts:
            raise RunError("This checkpoint was not written by avkit: it does not name its tasks.")
        check_same(facts, list(self.tasks), self.vocabulary)
        if self.surgery is not None:
            self.surgery.last = {k: x.to(self.device) for k, x in checkpoint.get("surgery", {}).items()}
        states = checkpoint["random"]
        self._random = states[self.trainer.global_rank % len(states)]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Go on with the random numbers of the checkpoint, so late that nothing draws from them before."""
        if self._random is None:
            return
        torch.set_rng_state(self._random["torch"].cpu())
        if torch.cuda.is_available() and "cuda" in self._random:
            torch.cuda.set_rng_state(self._random["cuda"].cpu())
        self._random = None


def _random_state() -> dict[str, torch.Tensor]:
    state = {"torch": torch.get_rng_state()}
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def gather(state: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """What every process has, in their order."""
    if not dist.is_initialized():
        return [state]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, state)
    return states


def _stored(config: SystemConfig) -> list[int]:
    """Widths of stored features where the data do not say them."""
    return [getattr(config, "visual_features", 0), getattr(config, "audio_features", 0)]


def _key(task: str) -> str:
    """The task's name as a module's: torch takes no dots, which names of tasks from outside have."""
    return task.replace(".", "/")


def check_same(facts: Mapping[str, Any], tasks: list[str], vocabulary: Vocabulary) -> None:
    """Raise RunError, with what differs, unless tasks and vocabulary are those a checkpoint was trained with."""
    if facts["tasks"] != tasks:
        raise RunError(
            f"The checkpoint has heads for {','.join(facts['tasks'])}, this run is for {','.join(tasks)}. "
            f"Pass --tasks {','.join(facts['tasks'])}, or start without --ckpt_path."
        )
    for name, now in asdict(vocabulary).items():
        then = facts["vocabulary"].get(name, type(now)())
        if then != now:
            odd = sorted(set(then) ^ set(now))[:5]
            what = f"such as {', '.join(map(repr, odd))}" if odd else "in another order"
            if name == "pieces":
                name, there = "word pieces (its tokenizer)", "Set system.pieces to those that it was trained with"
            else:
                there = "Use the data that it was trained on"
            raise RunError(
                f"The checkpoint was trained with other {name}: {len(then)} there, {len(now)} here, {what}. {there}, "
                "or start without --ckpt_path."
            )
