# SPDX-License-Identifier: Apache-2.0
"""LVS in a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from avkit.batch import Batch, Losses, Vocabulary
from avkit.nn.losses import mean_of
from avkit.systems.base import RunContext
from avkit.systems.lvs.network import LVS, tri_map
from avkit.systems.sources import LocalizationConfig, LocalizationOutput, LocalizationSystem, clip_numbers
from avkit.tasks.base import Task
from avkit.tasks.ssl import SoundLocalization


@dataclass
class LVSConfig(LocalizationConfig):
    """LVS for `ssl`."""

    name: Literal["lvs"] = "lvs"
    seconds: float = 10.0

    def make_tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The task, scored by the authors' rule: the part strictly above a map's median."""
        tasks = super().make_tasks(names, vocabulary)
        return {name: SoundLocalization(vocabulary.of(name), protocol="lvs") for name in tasks}

    def build(self, context: RunContext) -> "LVSSystem":
        """The system."""
        return LVSSystem(self, context)


class LVSSystem(LocalizationSystem):
    """LVS with its criterion.

    Loss: cross-entropy of the first logit, which is our reading of the paper: no training script was published.
    """

    config: LVSConfig

    def build_network(self) -> LVS:
        """The network."""
        return LVS(self.config)

    def loss(self, output: LocalizationOutput, batch: Batch) -> Losses:
        """`pairs`."""
        valid = batch.valid
        logits = tri_map(output.audio[valid], output.visual[valid]).logits
        clip = clip_numbers(batch)
        same = (clip[:, None] == clip[None]) & ~torch.eye(len(clip), dtype=torch.bool, device=valid.device)
        logits = logits.masked_fill(F.pad(same, (1, 1)), -torch.inf)  # other steps of a clip are no negatives
        total = F.cross_entropy(logits, torch.zeros_like(clip), reduction="sum")
        pairs = mean_of(total, torch.as_tensor(len(clip)))
        return {"loss": pairs, "pairs": pairs}
