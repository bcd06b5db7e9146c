# SPDX-License-Identifier: Apache-2.0
"""Which experiment a run is, and which published row stands beside it."""

import pytest

from avkit.cli.experiment_claims import claim_for
from avkit.leaderboard import judge, read_experiments
from avkit.leaderboard.claims import best_claim
from avkit.leaderboard.matching import RunOptions, leaves, match_experiment, task_names
from avkit.leaderboard.metric_names import our_metric
from avkit.leaderboard.records import Figure, Record

EXPERIMENTS = [experiment for experiment in read_experiments() if experiment.recipe]
BY_ID = {experiment.id: experiment for experiment in EXPERIMENTS}
#: Metrics of the tests below.
DAVEL = ("Avg", "mAP@0.5", "mAP@0.6", "mAP@0.7", "mAP@0.8", "mAP@0.9")


def run_of(experiment, by="training", **changes):
    """The options of a run of an experiment, with some replaced; `__` stands for a dot."""
    options = {"model.system.name": "av_unified", **dict(leaves(experiment.all_options()))}
    options |= {name.replace("__", "."): value for name, value in changes.items()}
    return RunOptions(options, list(options), task_names(options), experiment.datasets, by)


def match_davel(run):
    return match_experiment(run, EXPERIMENTS, "davel", "unav100", DAVEL)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.id)
def test_a_run_of_an_experiment_is_one_of_its_recipe(experiment):
    options = dict(leaves(experiment.all_options()))
    measured = False
    for task in task_names(options):
        metrics = {our_metric(task, experiment.figures_of, name) for name in experiment.published} - {None}
        match = match_experiment(run_of(experiment), EXPERIMENTS, task, experiment.figures_of, metrics)
        if match is None or not metrics:
            continue
        measured = True
        assert match.differences == ()
        same = [name for name in options if not name.startswith(("data.features.", "model.system.prompts"))]
        other = dict(leaves(match.experiment.all_options()))
        assert {name: other.get(name) for name in same} == {name: options[name] for name in same}
    assert measured or not experiment.published or "+" in experiment.figures_of or "(M)" in str(experiment.published)


def test_another_option_is_named():
    experiment = match_davel(run_of(next(e for e in EXPERIMENTS if e.recipe == ["ccnet/i3d.yaml"] and not e.options)))
    assert experiment.differences == ()
    changed = run_of(experiment.experiment, data__hop=0.96, model__lr=5e-4)
    match = match_davel(changed)
    assert match.experiment.recipe == ["ccnet/i3d.yaml"]
    assert match.differences == (
        "model.lr 0.0005, and the recipe has 0.0001",
        "data.hop 0.96, which the recipe leaves as it is",
    )


def test_only_a_training_is_compared_by_the_options_of_training():
    experiment = next(e for e in EXPERIMENTS if e.recipe == ["ccnet/i3d.yaml"] and not e.options)
    changes = {"model__lr": 5e-4, "trainer__max_steps": 0, "model__system__weights": "ours.safetensors"}
    assert match_davel(run_of(experiment, "training", **changes)).differences
    assert match_davel(run_of(experiment, "weights", **changes)).differences == ()
    hop = match_davel(run_of(experiment, "weights", data__hop=0.96))
    assert hop.differences == ("data.hop 0.96, which the recipe leaves as it is",)


def test_numbers_and_filled_in_arguments_are_no_differences():
    experiment = BY_ID["tspm_music_avqa"]
    filled = {"optimizer__init_args__betas": [0.9, 0.999], "optimizer__init_args__lr": "1e-4"}
    match = match_experiment(run_of(experiment, **filled), EXPERIMENTS, "avqa", "music-avqa", ["Overall"])
    assert match.differences == ()


def test_a_compiled_training_is_of_the_same_recipe():
    experiment = next(e for e in EXPERIMENTS if e.recipe == ["ccnet/i3d.yaml"] and not e.options)
    assert match_davel(run_of(experiment, model__compile=True)).differences == ()


def test_a_system_without_experiments_matches_none():
    run = RunOptions({"model.system.name": "mine"}, [], ["davel"], ["unav100"], "training")
    assert match_davel(run) is None


def test_the_claim_of_an_experiment_states_release_and_features():
    claim = claim_for(BY_ID["tspm_music_avqa"], "avqa")
    assert claim.release == "update"
    assert claim.protocol == {"prompts": "of a file"}
    assert claim.features["audio"] == "vggish (hop 1 s, width 128)"
    assert claim.features["visual"].endswith("clip_vit_l14_336 (hop 1 s, width 768)")
    assert claim.figures["Overall"].text == "76.79"
    assert claim.differs


def test_the_best_published_row_is_of_the_same_release():
    claim = best_claim("davel", "unav100", "official", "test", DAVEL)
    assert next(iter(claim.figures)) == "Avg"
    assert not claim.aimed
    update = best_claim("avqa", "music-avqa", "update", "test", ["Overall"])
    original = best_claim("avqa", "music-avqa", "original", "test", ["Overall"])
    assert update.name != original.name
    assert best_claim("avqa", "scenes", "", "test", ["Overall"]) is None


def test_nothing_reproduces_the_row_of_another_method():
    claim = best_claim("davel", "unav100", "official", "test", DAVEL)
    figures = {metric: Figure(printed.value) for metric, printed in claim.figures.items()}
    record = Record(
        *("davel", "unav100", "official", "test", ""), 2167, 2167, figures, "mine", "mine", None, "weights", [0]
    )
    verdict = judge([record], claim)
    assert verdict.word == "within"
    assert verdict.reasons[0] == f"of another method, {claim.name}"
    assert judge([Record(**{**vars(record), "figures": {"Avg": Figure(0.9)}})], claim).word == "above"
