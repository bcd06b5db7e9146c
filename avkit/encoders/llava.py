# SPDX-License-Identifier: Apache-2.0
"""Hidden states of large vision-language models through transformers: features for captions, see `ExpertRouter`.

Source:
    Liu et al., Improved baselines with visual instruction tuning, CVPR 2024 (LLaVA 1.5); Lin et al., Video-LLaVA, 2023.
    RA-SSU (arXiv 2603.09809) gives its router the features of "visual-text combined" prompts; the question is ours.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from avkit.encoders.base import VideoEncoder, VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import HUB
from avkit.reading.hub import HubError, from_hub, hugging_face

#: The question of the prompt, which follows the image or video.
QUESTION = "What makes a sound here, where is it, what does it look like and what is it doing?"


class LlavaFrames(VisualEncoder):
    """LLaVA prompted with one image and a question: hidden states of the last layer.

    `patches` are the states of all tokens after the image, and `frame` is the state of the last token, which predicts
    the first token of an answer.

    Args:
        pretrained: `hub` for LLaVA 1.5 7B, a name on the hub, or a folder that `save_pretrained` wrote.
        question: Question of the prompt.

    Raises:
        ValueError: If no weights are named, or the weights cannot be read.
    """

    def __init__(self, pretrained: str | Path | bool | None = None, question: str = QUESTION) -> None:
        super().__init__()
        name = _model_name(pretrained, "llava-hf/llava-1.5-7b-hf", "llava")
        self.processor, self.network = _load(transformers.LlavaForConditionalGeneration, name)
        self.prompt = f"USER: <image>\n{question} ASSISTANT:"
        self.image_token = int(self.network.config.image_token_index)
        self.width = self.network.config.text_config.hidden_size

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 (N, 3, H, W)."""
        prompts = [self.prompt] * len(frames)
        inputs = self.processor(text=prompts, images=list(frames.cpu()), return_tensors="pt")
        states = _hidden_states(self.network, inputs, self.image_token)
        return VisualFeatures(states[:, -1], states, (1, states.shape[1]))


class VideoLlava(VideoEncoder):
    """Video-LLaVA prompted with a video and a question: hidden states of the last layer, of all tokens after the video.

    Args:
        pretrained: `hub` for Video-LLaVA 7B, a name on the hub, or a folder that `save_pretrained` wrote.
        question: Question of the prompt.
        frames: Number of frames in the prompt, taken evenly from the video.

    Raises:
        ValueError: If no weights are named, or the weights cannot be read.
    """

    def __init__(self, pretrained: str | Path | bool | None = None, question: str = QUESTION, frames: int = 8) -> None:
        super().__init__()
        name = _model_name(pretrained, "LanguageBind/Video-LLaVA-7B-hf", "video_llava")
        self.processor, self.network = _load(transformers.VideoLlavaForConditionalGeneration, name)
        self.prompt = f"USER: <video>\n{question} ASSISTANT:"
        self.frames = frames
        self.video_token = int(self.network.config.video_token_index)
        self.width = self.network.config.text_config.hidden_size

    def forward(self, frames: Tensor) -> Tensor:
        """Encode the frames of one video, uint8 (T, 3, H, W), to M tokens (M, D)."""
        indices = ((torch.arange(self.frames) + 0.5) * len(frames) / self.frames).long()
        video = frames.cpu()[indices].permute(0, 2, 3, 1).numpy()
        inputs = self.processor(text=self.prompt, videos=[video], return_tensors="pt")
        return _hidden_states(self.network, inputs, self.video_token)[0]


#: What to do where the hub cannot be reached.
_INSTEAD = (
    "Download them where there is a network, and name the folder that save_pretrained wrote (--weights STREAM=PATH)."
)


def _hidden_states(network: Any, inputs: Any, visual_token: int) -> Tensor:
    """Last hidden states (N, M, D) of the tokens after the visual ones; all prompts have the same text."""
    inputs = inputs.to(network.device)
    for name, x in inputs.items():
        if x.is_floating_point():
            inputs[name] = x.to(network.dtype)
    states: Tensor = network(**inputs, output_hidden_states=True).hidden_states[-1]
    last_visual = int((inputs["input_ids"][0] == visual_token).nonzero()[-1])
    return states[:, last_visual + 1 :].float()


def _model_name(pretrained: str | Path | bool | None, hub_name: str, encoder: str) -> str:
    if not pretrained:
        raise ValueError(
            f"Encoder {encoder!r} has no random form: name its weights, such as {HUB!r} for {hub_name}, or a folder "
            "that save_pretrained wrote."
        )
    return hub_name if pretrained is True or pretrained == HUB else str(pretrained)


def _load(model_class: Any, name: str) -> tuple[Any, Any]:
    """Processor and model; weight files that could run code are not read."""
    try:
        if Path(name).exists():
            processor, network = _read(model_class, name, only_cache=True)
        else:
            with from_hub(
                f"Processor and weights (some 15 GB) of {name}", hugging_face(name), _INSTEAD
            ) as is_reachable:
                processor, network = _read(model_class, name, only_cache=not is_reachable)
    except HubError:
        raise
    except (OSError, ValueError) as error:  # missing, of another class, without safetensors, or no network
        raise ValueError(
            f"{name} cannot be loaded as {model_class.__name__}: {error}. Name a folder that save_pretrained wrote for "
            "model and processor, or a model on the hub."
        ) from error
    if torch.cuda.is_available():
        network = network.to(torch.bfloat16)
    return processor, network


def _read(model_class: Any, name: str, *, only_cache: bool) -> tuple[Any, Any]:
    """Processor and model as transformers reads them."""
    processor = transformers.AutoProcessor.from_pretrained(name, local_files_only=only_cache)
    network = model_class.from_pretrained(name, use_safetensors=True, local_files_only=only_cache)
    return processor, network
