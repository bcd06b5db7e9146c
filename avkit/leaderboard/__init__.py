# SPDX-License-Identifier: Apache-2.0
"""Published figures, the experiments that aim at them, records of what was measured, and verdicts."""

from avkit.leaderboard.experiments import Experiment, Needs, find_experiment, read_experiments
from avkit.leaderboard.printed import Printed
from avkit.leaderboard.published import PublishedRow, PublishedValue, Source, read_published, read_sources
from avkit.leaderboard.recipes import CONFIGS, find_recipe, list_recipes
from avkit.leaderboard.records import Figure, Record, read_record, read_records, write_record, write_records
from avkit.leaderboard.verdicts import Claim, Verdict, judge

__all__ = [
    "CONFIGS",
    "Claim",
    "Experiment",
    "Figure",
    "Needs",
    "Printed",
    "PublishedRow",
    "PublishedValue",
    "Record",
    "Source",
    "Verdict",
    "find_experiment",
    "find_recipe",
    "judge",
    "list_recipes",
    "read_experiments",
    "read_published",
    "read_record",
    "read_records",
    "read_sources",
    "write_record",
    "write_records",
]
