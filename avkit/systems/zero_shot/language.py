# SPDX-License-Identifier: Apache-2.0
"""A vision-language model that writes a sentence or an answer about pictures, by transformers; only where asked for."""

from pathlib import Path

import torch
from torch import Tensor, nn


class LanguageModel(nn.Module):
    """A chat model that is shown a few pictures and asked a question.

    Args:
        path: Folder that `save_pretrained` wrote.
        tokens: Longest answer in tokens.
    """

    def __init__(self, path: Path, tokens: int = 40) -> None:
        super().__init__()
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(path, local_files_only=True)
        self.network = AutoModelForImageTextToText.from_pretrained(path, local_files_only=True)
        self.tokens = tokens

    @torch.inference_mode()
    def ask(self, frames: Tensor, question: str) -> str:
        """The model's words about pictures, uint8 (N, 3, H, W)."""
        pictures = [{"type": "image"} for _ in frames]
        turn = {"role": "user", "content": [*pictures, {"type": "text", "text": question}]}
        prompt = self.processor.apply_chat_template([turn], add_generation_prompt=True)
        inputs = self.processor(text=prompt, images=list(frames.cpu()), return_tensors="pt").to(frames.device)
        written = self.network.generate(**inputs, max_new_tokens=self.tokens, do_sample=False)
        new = written[:, inputs["input_ids"].shape[1] :]
        text: str = self.processor.batch_decode(new, skip_special_tokens=True)[0]
        return " ".join(text.split())
