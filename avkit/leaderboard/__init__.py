# SPDX-License-Identifier: Apache-2.0
"""Published figures, and the experiments that aim at them."""

from avkit.leaderboard.experiments import Experiment, Needs, read_experiments
from avkit.leaderboard.recipes import CONFIGS, find_recipe, recipe_names

__all__ = ["CONFIGS", "Experiment", "Needs", "find_recipe", "read_experiments", "recipe_names"]
