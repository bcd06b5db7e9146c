# SPDX-License-Identifier: Apache-2.0
"""Options of AV-Unified."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from avkit.batch import FeatureWidths
from avkit.systems.av_unified.form import BackboneForm, FormName, choose_form, describe_form
from avkit.systems.base import RunContext, SystemConfig

if TYPE_CHECKING:
    from avkit.systems.av_unified.system import AVUnified


@dataclass
class AVUnifiedConfig(SystemConfig):
    """Options of AV-Unified; the defaults train from scratch on two CPU cores.

    Attributes:
        name: Name of the system.
        visual: Visual encoder, see `avkit.encoders.list_encoders`.
        audio: Audio encoder.
        text: Text encoder.
        visual_weights: Weights of the visual encoder: empty, `hub`, a tag, or a path.
        audio_weights: Weights of the audio encoder.
        text_weights: Weights of the text encoder.
        train_encoders: Train them too; False freezes all three, except those called `small`.
        visual_features: Width of stored visual features, which then replace the visual encoder; 0 for none. Needed only
            where the data do not tell it.
        audio_features: Width of stored audio features; 0 for none.
        width: Width D of all tokens.
        heads: Attention heads.
        parts: Rows and columns to which patches are averaged for heads that read no pixels.
        windows: Window lengths of the temporal module, in steps.
        dropout: In training.
        temporal: Use the temporal module.
        spatial: Use the spatial module.
        gate: Use the prompt's gate.
        own_sound: Have captions hear the sound of a step as it was before the backbone, which tells classes and hardly
            how they sound; False is as it was before avkit 0.2.
        unimodal_share: Share of training steps without cross-modal attention, in runs with heads that never have it:
            these can then use what other tasks teach about classes.
        mask_blocks: Blocks on each side of a mask that a sequence writes, see `avkit.heads.mask_code`; more follow its
            edges more closely, and cost as many more tokens.
        class_token: Take the first of stored visual tokens as the frame where there is one more than a square grid has,
            as CLIP's class token.
        form: Form of the backbone: `default` is ours, `paper` is what AV-Unified's equations say. The options below
            follow it where they are null.
        always_cross_modal: Audio and picture attend to each other for `avvp` and `ssl` too.
        gate_residual: The gate multiplies by 1 + n w instead of the weight w of Eq. 9.
        gate_projection: A linear layer for each stream behind the gate.
        feed_forward: A feed-forward layer in the spatial module.
        raw_audio_guide: The encoder's audio feature guides the patches (Eq. 6), not that of the temporal module.
        audio_streams: 2 for the audio of temporal and spatial module, each with its own weights (Eq. 7), 1 for one.
        stacked_windows: Each window of the temporal module reads what the one before it made.
        temporal_depth: Number of temporal modules, one behind the other.
    """

    pluggable_heads: ClassVar[bool] = True

    name: Literal["av_unified"] = "av_unified"
    visual: str = "small"
    audio: str = "small"
    text: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    text_weights: str | None = None
    train_encoders: bool = False
    visual_features: int = 0
    audio_features: int = 0
    width: int = 96
    heads: int = 4
    parts: int = 4
    windows: list[int] = field(default_factory=lambda: [2, 4, 6])
    dropout: float = 0.0
    temporal: bool = True
    spatial: bool = True
    gate: bool = True
    own_sound: bool = True
    unimodal_share: float = 0.3
    mask_blocks: int = 8
    class_token: bool = True
    form: FormName = "default"
    always_cross_modal: bool | None = None
    gate_residual: bool | None = None
    gate_projection: bool | None = None
    feed_forward: bool | None = None
    raw_audio_guide: bool | None = None
    audio_streams: int | None = None
    stacked_windows: bool | None = None
    temporal_depth: int | None = None

    def backbone_form(self) -> BackboneForm:
        """The form of the backbone, with the options that are given in place of its own.

        Raises:
            ValueError: If an option has a value that it does not take.
        """
        options = {record.name: vars(self)[record.name] for record in fields(BackboneForm)}
        return choose_form(self.form, options)

    def notes(self) -> list[str]:
        """The form of the backbone, unless it is the default."""
        text = describe_form(self.form, self.backbone_form())
        return [text] if text else []

    def stored_features(self) -> FeatureWidths:
        """Widths of stored features where the data do not tell them."""
        return FeatureWidths(self.visual_features, self.audio_features)

    def build(self, context: RunContext) -> "AVUnified":
        """The system."""
        from avkit.systems.av_unified.system import AVUnified

        return AVUnified(self, context)
