# SPDX-License-Identifier: Apache-2.0
"""Which experiment a run is: the one whose recipe and options it has, or the one that it comes nearest to."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from avkit.leaderboard.experiments import Experiment
from avkit.leaderboard.metric_names import our_metric
from avkit.leaderboard.recipes import Option
from avkit.leaderboard.records import By

#: How names of options begin that are judged otherwise: data by coverage and release, features by what they are,
#: sentences by the protocol; or that do not change what is measured.
_JUDGED_OTHERWISE = (
    "data.allow_missing",
    "data.dataset",
    "data.features.",
    "data.loader.",
    "data.root",
    "data.scenes.",
    "data.splits.",
    "model.compile",
    "model.system.prompts",
    "name",
    "out",
    "report",
    "save_",
    "seed_everything",
    "seeds",
    "tasks",
    "trainer.enable_",
    "trainer.limit_test_batches",
)
#: How names of options begin that only training reads.
_OF_TRAINING = (
    "data.batch_size.",
    "data.crop.",
    "data.dataset_mix",
    "data.mix",
    "data.steps_per_epoch",
    "lr_scheduler",
    "model.balance",
    "model.betas",
    "model.loss_weights",
    "model.lr",
    "model.schedule",
    "model.surgery",
    "model.system.drop_path",
    "model.system.dropout",
    "model.system.frozen_epochs",
    "model.system.weights",
    "model.warmup",
    "model.weight_decay",
    "optimizer",
    "trainer.",
)
_ARGUMENTS = ".init_args."


@dataclass(frozen=True)
class RunOptions:
    """The options of a run, as far as an experiment sets them.

    Attributes:
        options: All options by dotted name.
        changed: Names of those that differ from their defaults.
        tasks: Names of its tasks.
        datasets: Names of its datasets.
        by: Where its figures come from; only a training is compared by the options of training.
    """

    options: Mapping[str, Option]
    changed: Collection[str]
    tasks: Collection[str]
    datasets: Collection[str]
    by: By


@dataclass(frozen=True)
class Match:
    """An experiment and in what a run differs from its recipe, one clause each; nothing where it is that experiment."""

    experiment: Experiment
    differences: tuple[str, ...] = ()


def match_experiment(
    run: RunOptions, experiments: Sequence[Experiment], task: str, dataset: str, metrics: Collection[str]
) -> Match | None:
    """The experiment that a run is, or the nearest of the same system.

    Of several with the same recipe it is the one whose row prints most figures that were measured.

    Args:
        run: Options of the run.
        experiments: All experiments.
        task: Task that was scored.
        dataset: Dataset that it was scored on.
        metrics: Names of the figures that were measured.

    Returns:
        The match; None where no experiment of the system has figures of this task and dataset.
    """
    matches: list[tuple[int, int, Match]] = []
    for experiment in experiments:
        if not experiment.recipe or experiment.figures_of != dataset:
            continue
        expected = dict(leaves(experiment.all_options()))
        common = {our_metric(task, dataset, name) for name in experiment.published} & set(metrics)
        same_system = expected.get("model.system.name", "av_unified") == run.options.get("model.system.name")
        if common and same_system and task in task_names(expected):
            match = Match(experiment, tuple(_differences(run, experiment, expected)))
            matches.append((len(match.differences), -len(common), match))
    return min(matches, key=lambda entry: entry[:2])[2] if matches else None


def task_names(options: Mapping[str, Option]) -> list[str]:
    """Names in the option `tasks`."""
    return [name.strip() for name in str(options.get("tasks", "")).split(",")]


def leaves(value: Option, name: str = "") -> Iterator[tuple[str, Option]]:
    """The entries of nested mappings that are no mappings, by dotted name."""
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, part in value.items():
        yield from leaves(part, f"{name}.{key}".lstrip("."))


def _differences(run: RunOptions, experiment: Experiment, expected: Mapping[str, Option]) -> Iterator[str]:
    """In what a run differs from a recipe."""
    ignored = _JUDGED_OTHERWISE if run.by == "training" else (*_JUDGED_OTHERWISE, *_OF_TRAINING)
    if run.by == "training":
        if set(run.tasks) != set(task_names(expected)):
            yield f"trained for {','.join(run.tasks)}, and the recipe for {expected.get('tasks')}"
        if set(run.datasets) != set(experiment.datasets):
            yield f"trained on {'+'.join(run.datasets)}, and the recipe on {experiment.dataset}"
    for name, value in expected.items():
        if not name.startswith(ignored) and not _covers(value, run.options.get(name)):
            yield f"{name} {_shown(run.options.get(name))}, and the recipe has {_shown(value)}"
    for name in run.changed:
        filled_in = _ARGUMENTS in name and name.partition(_ARGUMENTS)[0] + ".class_path" in expected
        if name not in expected and not filled_in and not name.startswith(ignored):
            yield f"{name} {_shown(run.options.get(name))}, which the recipe leaves as it is"


def _covers(expected: Option, value: Option) -> bool:
    """Whether a value is the expected one; mappings and lists may be filled in with further entries of mappings."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(_covers(part, value.get(key)) for key, part in expected.items())
    if isinstance(expected, list):
        if not isinstance(value, list) or len(value) != len(expected):
            return False
        return all(_covers(part, other) for part, other in zip(expected, value, strict=True))
    return expected == value or _number(expected) == _number(value) is not None


def _number(value: Option) -> float | None:
    """The number that an option is; YAML takes 1e-4 for a text."""
    if isinstance(value, bool | dict | list) or value is None:
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _shown(value: Option) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
