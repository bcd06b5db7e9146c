# SPDX-License-Identifier: Apache-2.0
from avkit.leaderboard import find_experiment, read_experiments
from avkit.leaderboard.claims import claim_of


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
