# SPDX-License-Identifier: Apache-2.0
"""What must hold before a training writes anything: data, figures that are watched, and the checkpoint."""

from collections.abc import Iterator, Sequence

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from avkit.cli.trainer import AVCLI
from avkit.errors import RunError, unknown_name
from avkit.training.callbacks import AtomicCheckpointIO
from avkit.training.checkpoint_fit import check_same
from avkit.training.earlier_weights import check_not_before, check_not_earlier
from avkit.training.module import AVModel


def check_before_training(cli: AVCLI, checkpoint: str | None) -> None:
    """Refuse what would end a training late.

    Args:
        cli: Trainer, model and data.
        checkpoint: The checkpoint to go on from.

    Raises:
        ValueError: If a split is empty or too small, a mix is not one, or a figure is watched that there is not.
        RunError: If the checkpoint is of another model.
    """
    if not any(True for _ in cli.model.parameters()):
        raise ValueError(
            f"System {cli.model.system.config.name} has nothing to train. Ask it with 'avkit predict zero_shot CLIP', "
            "score it with 'avkit test zero_shot --dataset NAME --data.root FOLDER', or choose another "
            "--model.system.name."
        )
    _check_data(cli)
    check_samples(cli, _splits(cli))
    cli.datamodule.shares()
    for name, monitor in _monitors(cli):
        _check_monitor(cli.model, name, monitor)
    if checkpoint:
        check_checkpoint(cli.model, checkpoint)


def _check_data(cli: AVCLI) -> None:
    """Every task has samples to train, validate and test on, and a share of each batch for every process."""
    data = cli.datamodule
    for split in _splits(cli):
        for name in data.benchmarks:
            data.indices(split, name)
    data.check_sharing(cli.trainer.world_size)


def _splits(cli: AVCLI) -> list[str]:
    """The splits that a training reads."""
    return ["train", "val", "test"] if cli.config.report else ["train", "val"]


def check_samples(cli: AVCLI, splits: Sequence[str]) -> None:
    """Refuse samples that the system cannot answer as its options say.

    Raises:
        DataError: If a question cannot be asked, or features do not fit.
        ValueError: If a clip is too short.
    """
    system = cli.model.system
    for name, benchmark in cli.datamodule.benchmarks.items():
        for split in splits:
            dataset = cli.datamodule.split(split, name)
            system.check_questions(benchmark.task, dataset.questions())
            if system.checks_samples:
                item = dataset.item(cli.datamodule.indices(split, name)[0], frozenset())
                system.check_sample(benchmark.task, item)


def _monitors(cli: AVCLI) -> Iterator[tuple[str, str]]:
    """Who watches a figure, and which."""
    for callback in vars(cli.trainer)["callbacks"]:
        if isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor:
            yield type(callback).__name__, callback.monitor
    schedule = cli.config.lr_scheduler
    if schedule is not None and "monitor" in schedule.get("init_args", {}):
        yield "lr_scheduler", schedule.init_args.monitor


def _check_monitor(model: AVModel, name: str, monitor: str) -> None:
    """Refuse a figure that is not logged. Names of losses are known once training runs."""
    figures = ["val/score"]
    for task, definition in model.benchmarks.items():
        if monitor.startswith(f"train/{task}/"):
            return
        figures += [f"val/{task}/{figure}" for figure in dict.fromkeys([*definition.headline, definition.monitor])]
    if monitor not in [*figures, "epoch", "step"]:
        raise unknown_name(
            f"figure for {name}", monitor, [*figures, *(f"train/{task}/loss" for task in model.benchmarks)]
        )


def check_checkpoint(model: AVModel, path: str) -> None:
    """Refuse a checkpoint of other tasks, of another vocabulary, or of other sizes.

    Raises:
        RunError: With the first difference.
    """
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    facts = checkpoint.get("avkit")
    if not facts:
        raise RunError(f"{path} was not written by avkit: it does not name its tasks.")
    check_same(facts, list(model.tasks), model.vocabulary)
    check_not_earlier(path, checkpoint["state_dict"])
    there = {name: tuple(x.shape) for name, x in checkpoint["state_dict"].items()}
    here = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    check_not_before(path, here.keys() - there.keys())
    for name in [*here, *there]:
        if there.get(name) != here.get(name):
            raise RunError(
                f"{path} is of a model with other options: {name} is {there.get(name, 'missing')} there and "
                f"{here.get(name, 'missing')} here. Give the options of its run, as in "
                "--config RUN/config.yaml, or start without --ckpt_path."
            )
