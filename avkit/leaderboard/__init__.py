# SPDX-License-Identifier: Apache-2.0
"""Published figures, and the experiments that aim at them."""

from avkit.leaderboard.experiments import Experiment, Needs, read_experiments

__all__ = ["Experiment", "Needs", "read_experiments"]
