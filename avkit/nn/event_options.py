# SPDX-License-Identifier: Apache-2.0
"""Options of networks and heads for dense events, each written once."""

from dataclasses import dataclass


@dataclass
class EventDecoderOptions:
    """What turns a temporal pyramid of features into events.

    Attributes:
        length: Steps that shorter videos are padded to.
        levels: Levels of the pyramid; each has half the steps of the one before.
        channels: Width of the decoder.
        depth: Convolutions in each tower of the decoder, the last included.
        aware: Predict boundaries for every class, instead of one pair per point for all classes.
        drop_path: Probability that a sample skips a residual branch in training.
    """

    length: int = 224
    levels: int = 6
    channels: int = 512
    depth: int = 3
    aware: bool = True
    drop_path: float = 0.1


@dataclass
class EventPyramidOptions(EventDecoderOptions):
    """The same with relations between classes and steps before it.

    Attributes:
        inner: Width of the features of one class, where classes are related.
        mixed: Let padding of the temporal branch be taken from the wrong videos of a batch, as the authors do; see
            `avkit.nn.event_dependency.EventDependency`.
    """

    inner: int = 128
    mixed: bool = True


@dataclass
class EventTrunkOptions:
    """What makes a pyramid of the features of both modalities.

    Attributes:
        width: Width D of each modality.
        heads: Attention heads.
        stages: Convolutions at the start, in each modality.
        blocks: Blocks of self-attention, in each modality.
    """

    width: int = 512
    heads: int = 4
    stages: int = 2
    blocks: int = 2


@dataclass
class EventOptions(EventTrunkOptions, EventPyramidOptions):
    """Options of a whole network for dense events, from the features of both modalities to events."""


@dataclass
class EventLossOptions:
    """Options of the loss, see `avkit.nn.event_criterion.EventCriterion`.

    Attributes:
        segment_weight: Weight of the loss of boundaries; 0 or less makes it as large as the loss of classes.
        smoothing: Label smoothing.
        normaliser: Number of positive points that losses are divided by before any batch was counted.
        centre_radius: Points farther from the middle of an event than so many points of their level are not trained on
            it (ActionFormer's centre sampling); 0 trains on all points inside.
        segment_loss: Loss of boundaries: `diou` adds the distance of the centres to 1 - IoU, as the code of UnAV and
            CCNet does; `giou` is that of CCNet's Eq. 9.
    """

    segment_weight: float = 1.0
    smoothing: float = 0.0
    normaliser: float = 250.0
    segment_loss: str = "diou"
    centre_radius: float = 0.0
