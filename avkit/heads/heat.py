# SPDX-License-Identifier: Apache-2.0
"""Sound source heat maps, learned from which sound goes with which picture: the default head of `ssl`."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Targets, Tokens, exportable
from avkit.heads.base import Head, HeadInputs, NoOptions
from avkit.nn.decoder_layer import mlp
from avkit.nn.padding import valid_rows


@exportable
@dataclass
class HeatOutput:
    """Embeddings whose dot product is the heat map.

    Attributes:
        audio: (B, T, C).
        patches: (B, T, h, w, C).
    """

    audio: Tensor
    patches: Tensor

    @property
    def heat(self) -> Tensor:
        """Similarity of each patch and the sound, (B, T, h, w)."""
        return torch.einsum("btc,bthwc->bthw", self.audio, self.patches)


class HeatHead(Head):
    """Similarity of every patch and the sound of its step: cosine, plus how far both match the same class name.

    The mean sound is subtracted from each sound, so that a patch that is similar to all sounds alike, such as a wall,
    is similar to none. Class names add classes that other tasks of a joint run have learned. Audio and visual tokens
    must not attend to each other before this head, or the pairing would be known without looking.

    Loss: contrastive over the batch, see `pairing_loss`.

    Args:
        inputs: Width of the tokens.
        options: None.
    """

    cross_modal = False
    needs_pixels = False

    mean_audio: Tensor
    #: Logit of a patch that shows none of the named classes.
    background = 2.0
    #: Share of the current batch in the running mean of sounds.
    momentum = 0.3

    def __init__(self, inputs: HeadInputs, options: NoOptions = NoOptions()) -> None:  # noqa: B008, it is frozen
        super().__init__()
        width = inputs.width
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "patches")})
        self.embed_audio = mlp(width, width, width)
        self.embed_patches = mlp(width, width, width)
        self.register_buffer("mean_audio", torch.zeros(width))

    def forward(self, tokens: Tokens, batch: Batch) -> HeatOutput:
        """Embeddings of sounds and of patches."""
        audio = self.norms["audio"](tokens.audio)
        patches = self.norms["patches"](tokens.patches)
        audio_vectors = F.normalize(self.embed_audio(audio), dim=-1)
        patch_vectors = F.normalize(self.embed_patches(patches), dim=-1)
        if self.training:
            keep = tokens.valid[..., None]
            mean = (audio_vectors.detach() * keep).sum((0, 1)) / keep.sum()
            self.mean_audio.lerp_(mean, self.momentum)
        audio_vectors = audio_vectors - self.mean_audio
        if tokens.names is not None:
            names = tokens.names.T / tokens.names.shape[1] ** 0.5
            classes = F.pad(patches @ names, (1, 0), value=self.background).softmax(-1)
            audio_vectors = torch.cat([audio_vectors, (audio @ names).softmax(-1)], -1)
            patch_vectors = torch.cat([patch_vectors, classes[..., 1:]], -1)
        return HeatOutput(audio_vectors, rearrange(patch_vectors, "b t (h w) c -> b t h w c", h=tokens.grid[0]))

    def loss(self, output: HeatOutput, batch: Batch) -> Losses:
        """`pairs`."""
        valid = batch.valid
        clip = torch.arange(len(batch), device=valid.device)[:, None].expand(valid.shape)
        audio, patches, clip = (valid_rows(x, valid, batch.rows) for x in (output.audio, output.patches, clip))
        pairs = pairing_loss(audio, patches.flatten(1, 2), clip)
        return {"loss": pairs, "pairs": pairs}

    def pseudo_targets(self, output: HeatOutput, batch: Batch) -> Targets:
        """`boxes`: around the part of each heat map above the middle of its range."""
        heat = output.heat.float().detach()
        peak = heat.amax((2, 3), keepdim=True)
        floor = heat.amin((2, 3), keepdim=True)
        hot = heat >= (peak + floor) / 2
        left, right = _extent(hot.any(2))
        top, bottom = _extent(hot.any(3))
        return {"boxes": torch.stack([left, top, right, bottom], -1)[:, :, None]}

    def predict(self, output: HeatOutput, batch: Batch) -> Prediction:
        """`heat`, (B, T, h, w)."""
        return Prediction(batch.task, batch.id, {"heat": output.heat.float()})

    def graph_values(self, output: HeatOutput, batch: Batch) -> dict[str, Tensor]:
        """All values of `predict`."""
        return self.predict(output, batch).values


def _extent(on: Tensor) -> tuple[Tensor, Tensor]:
    """First and last edge of what is on along the last axis, in [0, 1]."""
    size = on.shape[-1]
    first = on.int().argmax(-1) / size
    last = 1 - on.flip(-1).int().argmax(-1) / size
    return first, last


def pairing_loss(audio: Tensor, patches: Tensor, clip: Tensor, temperature: float = 0.07, share: float = 0.4) -> Tensor:
    """Contrastive multiple-instance loss: a sound fits the best patches of its own picture better than those of others.

    Both ways, sounds among pictures and pictures among sounds; other steps of the same clip are left out, since they
    show much the same.

    Args:
        audio: Embeddings (N, C) of sounds.
        patches: Embeddings (N, P, C) of the pictures' patches.
        clip: Number of the clip of each, (N,).
        temperature: Of the softmax; EZ-VSL has 0.03.
        share: Part of the patches that count as the best, at least one, which is EZ-VSL's choice; their mean counts.
            With one alone the loss needs only the most telling spot of an object, and the rest of it stays cold.

    Source:
        stoneMo/EZ-VSL at commit 95ff5bff3019, `model.py`, `max_xmil_loss`.
    """
    similarity = torch.einsum("npc,mc->nmp", patches, audio)
    best = similarity.topk(max(1, int(share * patches.shape[1])), 2).values
    match = best.mean(2) / temperature
    own = torch.arange(len(audio), device=audio.device)
    same = (clip[:, None] == clip[None]) & ~torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    match = match.masked_fill(same, -torch.inf)
    return (F.cross_entropy(match, own) + F.cross_entropy(match.T, own)) / 2
