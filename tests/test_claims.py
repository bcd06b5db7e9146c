# SPDX-License-Identifier: Apache-2.0
"""What experiments claim: the figures of published rows."""

from avkit.cli.reproduction_plan import headline
from avkit.leaderboard import find_experiment, read_experiments, read_published
from avkit.leaderboard.aims import aims_of
from avkit.leaderboard.claims import claim_of
from avkit.leaderboard.metric_names import our_metric
from avkit.leaderboard.published import group_rows


def test_figures_have_our_names_and_the_decimals_of_their_table():
    claim = claim_of(find_experiment("av_unified_joint_llp"), "avvp")
    assert claim.dataset == "llp"
    assert claim.figures["event/V"].text == "63.0"
    assert claim.figures["segment/Type"].scale == "percent"


def test_fractions_stay_fractions():
    experiment = next(entry for entry in read_experiments() if "f-music" in entry.dataset and entry.published)
    figures = claim_of(experiment, "ra_ssu").figures
    assert figures
    assert {printed.scale for printed in figures.values()} == {"fraction"}


def test_every_experiment_on_several_datasets_says_which_its_figures_are_of():
    joint = [entry for entry in read_experiments() if len(entry.datasets) > 1 and entry.recipe]
    assert joint
    assert [entry.id for entry in joint if entry.scored_on not in entry.datasets] == []


def test_experiments_have_the_digits_that_sources_print():
    rows = group_rows(read_published())
    compared = 0
    for experiment in read_experiments():
        for row in aims_of(experiment, rows):
            figures = claim_of(experiment, row.first.task).figures
            for value in row.values:
                metric = our_metric(row.first.task, row.first.dataset, value.metric)
                if metric in figures and value.fraction is not None:
                    assert figures[metric].text == value.printed, (experiment.id, metric)
                    compared += 1
    assert compared > 300
    shown = find_experiment("ccnet_unav100_davel_one_peace")
    assert headline(shown) == "Avg 51.0"
