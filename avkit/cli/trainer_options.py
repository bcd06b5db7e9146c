# SPDX-License-Identifier: Apache-2.0
"""Options of Lightning's trainer: each has its meaning, or is refused by name before anything is written."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from avkit.cli.given_options import last_value
from avkit.cli.launched import has_gpu
from avkit.training.fsdp2 import FSDP2

#: Options that avkit does not take, with the values that change nothing and what to use instead.
_REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "fast_dev_run": (
        (False, 0),
        "give --trainer.max_steps 1 --trainer.limit_val_batches 1 --trainer.limit_test_batches 1",
    ),
    "limit_predict_batches": ((None, 1.0), "'avkit predict' takes the clips that it is given"),
    "use_distributed_sampler": ((False,), "avkit shares each batch between its processes itself"),
    "barebones": ((False,), "avkit needs its history and checkpoints"),
    "plugins": ((None, []), "avkit writes checkpoints itself; --trainer.precision chooses a precision"),
    "model_registry": ((None,), "avkit keeps checkpoints in the run's folder"),
}
#: How strategies begin whose processes are copies of this one.
_IN_PYTHON = ("ddp_spawn", "ddp_fork", "ddp_notebook")
#: How strategies begin that have each device hold a part of the model.
_SPREADING = ("deepspeed", "fsdp", FSDP2)
#: Of these, those that run on GPUs alone.
_NEED_GPU = ("fsdp",)
#: Precisions that were tried; weights stay at 32 bits.
_PRECISIONS = (None, 32, "32", "32-true", 16, "16", "16-mixed", "bf16", "bf16-mixed")
#: Callbacks that contradict what avkit does, and what to use instead.
_REFUSED_CALLBACKS = {
    "GradientAccumulationScheduler": "use --trainer.accumulate_grad_batches",
    "BatchSizeFinder": "use --data.batch_size",
    "LearningRateFinder": "use --model.lr",
}
#: Packages that loggers write with; of several one is enough.
_LOGGER_PACKAGES = {
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
    "WandbLogger": ("wandb",),
    "MLFlowLogger": ("mlflow", "mlflow_skinny"),
    "CometLogger": ("comet_ml",),
}
#: Callbacks that write to a logger.
_NEED_LOGGER = ("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor")


def check_trainer_options(trainer: Any, *, report: bool, surgery: bool, balance: str) -> None:
    """Refuse options of the trainer that avkit cannot give their meaning.

    Args:
        trainer: The parsed options, by name.
        report: Whether the run is tested after training.
        surgery: Whether gradients are projected, see `--model.surgery`.
        balance: How tasks are weighted, see `--model.balance`.

    Raises:
        ValueError: With the option, its value, and what to use instead.
    """
    _check_all(trainer)
    _check_strategy(trainer, report=report)
    _check_loggers(trainer)
    _check_callbacks(trainer)
    if trainer.strategy == FSDP2 and (surgery or balance != "fixed"):
        option = "surgery true" if surgery else f"balance {balance}"
        raise ValueError(
            f"trainer.strategy is {FSDP2!r}, which spreads gradients over processes, and --model.{option} reads whole "
            "ones. Use --trainer.strategy auto."
        )
    if surgery and trainer.accumulate_grad_batches > 1:
        raise ValueError("model.surgery works on single steps; set --trainer.accumulate_grad_batches 1.")
    if report and trainer.limit_test_batches == 0:
        raise ValueError("trainer.limit_test_batches is 0, and the report needs a test. Add --report false.")
    if report and not trainer.enable_checkpointing:
        raise ValueError(
            "trainer.enable_checkpointing is false, so no weights are kept that could be tested. Add --report false."
        )


def check_evaluation_options(trainer: Any) -> None:
    """Refuse options of the trainer that a test or a validation cannot give their meaning.

    Args:
        trainer: The parsed options, by name.

    Raises:
        ValueError: With the option, its value, and what to use instead.
    """
    _check_all(trainer)
    strategy = str(trainer.strategy)
    if strategy.startswith(_IN_PYTHON) or strategy.partition("_")[0] in _SPREADING:
        raise ValueError(
            f"trainer.strategy is {strategy!r}, and each process of a test holds the whole model. Leave it out, or use "
            "--trainer.strategy ddp."
        )
    _check_loggers(trainer)
    _check_callbacks(trainer)


def _check_all(trainer: Any) -> None:
    """Refuse what neither a training nor a test takes."""
    for name, (accepted, advice) in _REFUSED.items():
        if trainer[name] not in accepted:
            raise ValueError(f"trainer.{name} is {_shown(trainer[name])}, which avkit does not take: {advice}.")
    if trainer.precision not in _PRECISIONS:
        raise ValueError(
            f"trainer.precision is {trainer.precision!r}; avkit takes 32-true, 16-mixed and bf16-mixed, which keep "
            "weights at 32 bits."
        )
    if str(trainer.precision) in ("16", "16-mixed") and not has_gpu(str(trainer.accelerator)):
        raise ValueError(
            f"trainer.precision is {trainer.precision!r}, which needs a GPU, and this run has none. Use "
            "--trainer.precision bf16-mixed, which a CPU has too, or leave it out."
        )


def _check_strategy(trainer: Any, *, report: bool) -> None:
    """Refuse strategies that need what is not there; others are Lightning's to take or to refuse."""
    name = str(trainer.strategy)
    start = name.partition("_")[0]
    reason = ""
    if name.startswith(_IN_PYTHON):
        reason = "starts processes inside of Python, and avkit starts them as commands: use --trainer.strategy ddp"
    elif start == "deepspeed":
        reason = (
            "writes checkpoints as folders of its own, which avkit neither tests nor goes on from. Use "
            f"--trainer.strategy {FSDP2}, which spreads weights, gradients and optimizer too and writes whole files"
        )
    elif start in _NEED_GPU and not has_gpu(str(trainer.accelerator)):
        reason = "needs a GPU, and this run has none. Leave it out for DistributedDataParallel"
    elif start == "fsdp" and trainer.gradient_clip_val and trainer.gradient_clip_algorithm != "value":
        reason = "cannot clip gradients by their norm: add --trainer.gradient_clip_val null"
    elif start in _SPREADING and report:
        reason = "leaves the model spread over devices. Add --report false, then test it with 'avkit test RUN'"
    if reason:
        raise ValueError(f"trainer.strategy is {name!r}, which {reason}.")


def _check_loggers(trainer: Any) -> None:
    for entry in _entries(trainer.logger):
        name = _class_name(entry)
        packages = _LOGGER_PACKAGES.get(name, ())
        if packages and not any(find_spec(package) for package in packages):
            raise ValueError(
                f"trainer.logger names {name}, which needs the package {packages[0]}, and it is not installed. Install "
                f"it with pip install {packages[0]}, or use --trainer.logger csv."
            )


def _check_callbacks(trainer: Any) -> None:
    for entry in _entries(trainer.callbacks):
        name = _class_name(entry)
        if name in _REFUSED_CALLBACKS:
            raise ValueError(f"trainer.callbacks names {name}, which avkit does not take: {_REFUSED_CALLBACKS[name]}.")
        if name in _NEED_LOGGER and not trainer.logger:
            raise ValueError(f"Callback {name} writes to a logger, and there is none. Add --trainer.logger csv.")
        if name == "ModelCheckpoint" and not trainer.enable_checkpointing:
            raise ValueError("trainer.enable_checkpointing is false, and trainer.callbacks names ModelCheckpoint.")


def _entries(given: Any) -> Sequence[Any]:
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def _class_name(entry: Any) -> str:
    if isinstance(entry, bool | None) or "class_path" not in entry:
        return ""
    return str(entry.class_path).rpartition(".")[2]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def set_epochs(trainer: Any, args: Sequence[str], *, own_schedule: bool) -> None:
    """Leave the number of epochs open where only the number of steps is given, as Lightning does.

    Args:
        trainer: The parsed options, which are changed.
        args: Words of the command.
        own_schedule: Whether `--lr_scheduler` or `--optimizer` replaces the schedule.

    Raises:
        ValueError: If training has no end by which the learning rate could fall.
    """
    steps_given = trainer.max_steps is not None and trainer.max_steps >= 0
    if steps_given and last_value(args, "trainer.max_epochs") is None:
        trainer.max_epochs = -1
    if not steps_given and trainer.max_epochs in (None, -1) and not own_schedule:
        raise ValueError(
            "trainer.max_epochs is -1 and trainer.max_steps is not given, so the learning rate does not know when to "
            "fall. Give one of them, or a schedule with --optimizer and --lr_scheduler."
        )


def check_validations(trainer: Any, steps: int) -> None:
    """Refuse validations that would never come.

    Args:
        trainer: The parsed options.
        steps: Training steps per epoch.

    Raises:
        ValueError: If steps between validations are more than an epoch has.
    """
    every = trainer.val_check_interval
    if isinstance(every, int) and every > steps and trainer.check_val_every_n_epoch is not None:
        raise ValueError(
            f"trainer.val_check_interval is {every} steps and an epoch has {steps}. Give fewer, a share of an epoch "
            "such as 0.5, or --trainer.check_val_every_n_epoch null to count over epochs."
        )
