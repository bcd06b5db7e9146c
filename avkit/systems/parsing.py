# SPDX-License-Identifier: Apache-2.0
"""What HAN and MM-Pyramid share: features, options, loss, and official names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Losses, Prediction
from avkit.nn.attentive_pooling import ParsingOutput
from avkit.nn.parsing import parsing_loss, parsing_values
from avkit.systems.base import Encoded
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import FeatureConfig, FeatureSystem, valid_or_none
from avkit.systems.official_keys import rename
from avkit.systems.published import ConvertedFacts, PublishedInputs

#: Official names of the parts that both networks have.
_NAMES = {
    "inputs.audio.": "fc_a.",
    "inputs.frames.": "fc_v.",
    "inputs.motion.": "fc_st.",
    "inputs.join.": "fc_fusion.",
    "pooling.classes.": "fc_prob.",
    "pooling.time.": "fc_frame_att.",
    "pooling.stream.": "fc_av_att.",
}


def shared_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments that both networks have, read from official weights."""
    return {
        "audio": state["fc_a.weight"].shape[1],
        "frames": state["fc_v.weight"].shape[1],
        "motion": state["fc_st.weight"].shape[1],
        "classes": len(state["fc_prob.weight"]),
        "width": len(state["fc_a.weight"]),
    }


def shared_name(key: str) -> str:
    """The official name of a key of `ClipProjection` or `AttentivePooling`; other keys as they are."""
    return rename(key, _NAMES)


@dataclass
class ParsingConfig(FeatureConfig):
    """Options that HAN and MM-Pyramid share in a run.

    Attributes:
        motion: How many of the last visual features describe motion and get a projection of their own: 512 for LLP's
            `res152+r2plus1d_18`.
    """

    answered_tasks: ClassVar[tuple[str, ...]] = ("avvp",)
    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("llp", "res152+r2plus1d_18", "vggish", ("llp",), FeatureWidths(2560, 128)),
        PublishedInputs("llp", "res152", "vggish", ("llp",), FeatureWidths(2048, 128)),
    )

    motion: int = 0

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same, with the width of motion."""
        motion = built_with["motion"]
        facts = super().converted_facts(network, {**built_with, "visual": built_with["frames"] + motion})
        return replace(facts, options={**facts.options, "motion": motion})


class ParsingSystem(FeatureSystem):
    """A network for weakly supervised video parsing; the loss is that of `avkit.nn.parsing`."""

    config: ParsingConfig

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> ParsingOutput:
        """Probabilities of a batch."""
        encoded = encoded or self.encode(batch)
        visual = encoded.visual.frame[:, :, None]
        motion_width = self.config.motion
        frames, motion = visual.split([visual.shape[-1] - motion_width, motion_width], -1)
        output: ParsingOutput = self.network(
            encoded.audio, frames, motion[:, :, 0] if motion_width else None, valid_or_none(batch)
        )
        return output

    def loss(self, output: ParsingOutput, batch: Batch) -> Losses:
        """`both`, `audio` and `visual`."""
        return parsing_loss(output, batch.targets["video_labels"])

    def predict(self, output: ParsingOutput, batch: Batch) -> Prediction:
        """`audio_scores`, `visual_scores` and `clip_scores`."""
        return Prediction(batch.task, batch.id, dict(parsing_values(output)))

    def graph_values(self, output: ParsingOutput, batch: Batch) -> dict[str, Tensor]:
        """All values of `predict`."""
        return parsing_values(output)
