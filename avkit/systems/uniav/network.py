# SPDX-License-Identifier: Apache-2.0
"""UniAV: a cross-modal pyramid whose feed-forward layers are a task's own, and classes that are named in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from avkit.encoders.state_choice import without_prefixes
from avkit.errors import DataError, unknown_name
from avkit.nn.cross_modal_pyramid import CrossModalPyramid, PyramidLevel
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_options import EventDecoderOptions, EventTrunkOptions
from avkit.systems.dense_events import CROSS_ATTENTION_NAMES, EventNetwork
from avkit.systems.official_files import weights_of
from avkit.systems.uniav.classifier import LanguageClassifier
from avkit.systems.uniav.experts import DEFAULT, EXPERTS, expert_of, experts_in, find_expert, name_for

#: Keys of layers that are a matrix there and here.
_MATRIX = "decoder.logits.text.weight"


@dataclass
class UniAVOptions(EventTrunkOptions, EventDecoderOptions):
    """Options of UniAV's network.

    Attributes:
        length: Steps that shorter videos are padded to; 64 for sounds of DESED.
        expert: The task whose feed-forward layers and boundaries the network has: `AVEL`, events that are seen and
            heard, `TAL`, actions, or `SED`, sounds. It chooses among those of an official checkpoint.
        positions: Add positions to the features.
    """

    length: int = 256
    expert: str = DEFAULT
    positions: bool = True


class UniAV(EventNetwork):
    """The network of "UniAV: Unified Audio-Visual Perception for Multi-Task Video Event Localization" for one task.

    Its mixture of experts is by task: a batch passes the feed-forward layers of its own task in every block, and no
    others. So the network of a task has one expert, and gives what a network of three with the same weights gives. The
    layers of the other tasks in an official checkpoint are kept as unused tensors, for the way back.

    Args:
        options: Sizes, switches and the expert.
        visual: Width of visual features.
        audio: Width of audio features.
        classes: Number of classes K.
        text: Width of the text features of classes.

    Raises:
        ValueError: If the expert is unknown.
    """

    name = "uniav"
    source = "ttgeng233/UniAV at commit dadff1bb3a85"
    Options = UniAVOptions
    names = (
        *CROSS_ATTENTION_NAMES,
        (r"^cls_head\.cls_head\.text\.", "cls_head.clip_proj."),
        (r"^cls_head\.cls_head\.point\.", "cls_head.vis_proj."),
        (r"^cls_head\.cls_head\.scale$", "cls_head.logit_scale"),
    )

    def __init__(self, options: UniAVOptions, visual: int, audio: int, classes: int, text: int) -> None:
        super().__init__(options, visual=visual, audio=audio, classes=classes, text=text)
        find_expert(options.expert)
        self.expert = options.expert
        self.length = options.length
        self.trunk = CrossModalPyramid(
            visual,
            audio,
            options.width,
            options.heads,
            options.length,
            options.stages,
            options.blocks,
            options.levels,
            positions=options.positions,
            gate=False,
            drop_path=options.drop_path,
        )
        classifier = LanguageClassifier(options.channels, text)
        self.decoder = EventDecoder(2 * options.width, classes, options, classifier)

    def relate(self, levels: list[PyramidLevel]) -> list[Tensor]:
        """Both modalities of the levels side by side, (B, T_l, 2 D)."""
        return [level.both() for level in levels]

    def official_name(self, key: str) -> str:
        """The authors' name of our key, with the expert's in it where the layer is its own."""
        return name_for(self.expert, super().official_name(key))

    @classmethod
    def to_official_tensor(cls, key: str, tensor: Tensor) -> Tensor:
        """As the other networks; the projection of text features is a matrix there too."""
        return tensor if key == _MATRIX else super().to_official_tensor(key, tensor)

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Fill this network from an official state dict, and keep the layers of the other experts."""
        state = without_prefixes(state, weights_of(type(self)))
        self.unused = {key: x for key, x in state.items() if expert_of(key) not in (None, self.expert)}
        super().load_official(state)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the other experts' layers, which the authors' network always has."""
        if self.unused:
            return {key: tuple(tensor.shape) for key, tensor in self.unused.items()}
        shapes = {}
        own = {key: x for key, x in self.state_dict().items() if expert_of(self.official_name(key))}
        others = [name for name in EXPERTS if name != self.expert]
        for name in others:
            for key, tensor in own.items():
                official = name_for(name, super().official_name(key))
                shape = tuple(self.to_official_tensor(key, tensor).shape)
                if official.startswith("reg_head."):
                    shape = (EXPERTS[name].outputs, *shape[1:])
                shapes[official] = shape
        return shapes

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`, `length` and `positions`.

        Where they hold several experts, the first of `EXPERTS` is meant. Boundaries that classes share do not tell
        the number of classes either: it is that of the expert's dataset unless it is given.
        """
        return cls.recognise_with(state, {})

    @classmethod
    def recognise_with(cls, state: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same for the expert that the options name."""
        if "cls_head.clip_proj.weight" not in state:
            return None
        present = experts_in(state)
        name = options.get("expert") or (present[0] if present else DEFAULT)
        if name not in EXPERTS:
            raise DataError(str(unknown_name("expert", name, EXPERTS)))
        expert = EXPERTS[name]
        outputs = len(state[f"reg_head.offset_head.{expert.section}.conv.bias"])
        facts = cls.trunk_arguments(state) | {
            "channels": len(state["cls_head.vis_proj.conv.weight"]),
            "text": state["cls_head.clip_proj.weight"].shape[1],
            "expert": name,
        }
        if outputs > 2 or options.get("aware"):
            return facts | {"aware": True, "classes": outputs // 2}
        return facts | {"aware": False, "classes": options.get("classes", expert.classes)}
