# SPDX-License-Identifier: Apache-2.0
"""Hidden features of large vision-language models through transformers: experts for captions, see `ExpertRouter`.

Source:
    Liu et al., Improved baselines with visual instruction tuning, CVPR 2024 (LLaVA 1.5); Lin et al., Video-LLaVA, 2023.
    RA-SSU (arXiv 2603.09809) gives its router the features of "visual-text combined" prompts; the words are ours.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from avkit.encoders.base import VideoEncoder, VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import HUB

#: What the model is asked; in front of it stands what it is shown.
QUESTION = "What makes a sound here, where is it, what does it look like and what is it doing?"


class LlavaFrames(VisualEncoder):
    """LLaVA asked about each picture by itself: the last layer's states of the question.

    `frame` is the state of the last token, which is where an answer would begin; `patches` are those of all tokens
    after the picture.

    Args:
        pretrained: `hub` for LLaVA 1.5 7B, a name on the hub, or a folder that `save_pretrained` wrote.
        question: What is asked.

    Raises:
        ValueError: If no weights are named, or what is there cannot be read.
    """

    def __init__(self, pretrained: str | Path | bool | None = None, question: str = QUESTION) -> None:
        super().__init__()
        name = _name(pretrained, "llava-hf/llava-1.5-7b-hf", "llava")
        self.processor, self.network = _load(transformers.LlavaForConditionalGeneration, name)
        self.prompt = f"USER: <image>\n{question} ASSISTANT:"
        self.shown = int(self.network.config.image_token_index)
        self.width = self.network.config.text_config.hidden_size

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Ask about pictures, uint8 (N, 3, H, W)."""
        given = self.processor(text=[self.prompt] * len(frames), images=list(frames.cpu()), return_tensors="pt")
        states = _states(self.network, given, self.shown)
        return VisualFeatures(states[:, -1], states, (1, states.shape[1]))


class VideoLlava(VideoEncoder):
    """Video-LLaVA asked about a clip: the last layer's states of the question, one row per token after the pictures.

    Args:
        pretrained: `hub` for Video-LLaVA 7B, a name on the hub, or a folder that `save_pretrained` wrote.
        question: What is asked.
        pictures: How many it is shown, taken evenly from the clip.

    Raises:
        ValueError: If no weights are named, or what is there cannot be read.
    """

    def __init__(
        self, pretrained: str | Path | bool | None = None, question: str = QUESTION, pictures: int = 8
    ) -> None:
        super().__init__()
        name = _name(pretrained, "LanguageBind/Video-LLaVA-7B-hf", "video_llava")
        self.processor, self.network = _load(transformers.VideoLlavaForConditionalGeneration, name)
        self.prompt, self.pictures = f"USER: <video>\n{question} ASSISTANT:", pictures
        self.shown = int(self.network.config.video_token_index)
        self.width = self.network.config.text_config.hidden_size

    def forward(self, frames: Tensor) -> Tensor:
        """Ask about one clip, uint8 (T, 3, H, W): (M, width)."""
        places = ((torch.arange(self.pictures) + 0.5) * len(frames) / self.pictures).long()
        video = frames.cpu()[places].permute(0, 2, 3, 1).numpy()
        given = self.processor(text=self.prompt, videos=[video], return_tensors="pt")
        return _states(self.network, given, self.shown)[0]


def _states(network: Any, given: Any, shown: int) -> Tensor:
    """Last hidden states (N, M, D) of the tokens after what is shown; all prompts are the same."""
    given = given.to(network.device)
    pixels = {k: x.to(network.dtype) if x.is_floating_point() else x for k, x in given.items()}
    found: Tensor = network(**pixels, output_hidden_states=True).hidden_states[-1]
    last = int((given["input_ids"][0] == shown).nonzero()[-1])
    return found[:, last + 1 :].float()


def _name(pretrained: str | Path | bool | None, usual: str, encoder: str) -> str:
    if not pretrained:
        raise ValueError(
            f"Encoder {encoder!r} has no random form: name its weights, such as {HUB!r} for {usual}, or a folder that "
            "save_pretrained wrote."
        )
    return usual if pretrained is True or pretrained == HUB else str(pretrained)


def _load(cls: Any, name: str) -> tuple[Any, Any]:
    """Processor and model; weights that could run code are not read."""
    try:
        processor = transformers.AutoProcessor.from_pretrained(name)
        network = cls.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError) as e:  # absent, not of this class, no safetensors, no network
        raise ValueError(
            f"{name} cannot be loaded as {cls.__name__}: {e}. Name a folder that save_pretrained wrote for model and "
            "processor, or a model on the hub."
        ) from e
    return processor, network.to(torch.bfloat16) if torch.cuda.is_available() else network
