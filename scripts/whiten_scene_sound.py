# SPDX-License-Identifier: Apache-2.0
"""Whiten the sound features of the small encoder that comes with avkit half way.

As training leaves them, nearly all of their variance lies in twelve directions, which tell the classes; what else is
heard, such as the rhythm, lies in directions that vary by a twentieth of that, and heads hardly find it. Whitened
altogether, directions vary alike, and small systems on stored features hardly find the classes. So the deviation of
each direction becomes its square root. The encoder's last layer is linear, so this goes into its weights.

    python scripts/whiten_scene_sound.py
"""

import argparse

import torch
from torch import Tensor, nn

from avkit.datasets.scenes import Scenes
from avkit.encoders.small import SmallAudio
from avkit.encoders.small_weights import load_small, scene_weights
from avkit.files import atomic
from avkit.reading.tensors import read_tensors, write_tensors

#: Deviation of noise, as it were, in each direction, so that directions which carry nothing stay small.
FLOOR = 0.1


def half_whitening(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of features (N, D), and the symmetric matrix (D, D) that whitens what is left without it half way."""
    variance, directions = torch.linalg.eigh(features.T.cov())
    deviation = (variance.clamp(min=0) + FLOOR**2).sqrt()
    return features.mean(0), directions * deviation.rsqrt() @ directions.T


def whiten_layer(layer: nn.Linear, mean: Tensor, matrix: Tensor) -> None:
    """Have a layer give what it gave, less `mean`, times `matrix`."""
    with torch.no_grad():
        bias = matrix @ (layer.bias.double() - mean)
        layer.weight.copy_(matrix @ layer.weight.double())
        layer.bias.copy_(bias)


@torch.no_grad()
def scene_features(encoder: SmallAudio, scenes: int) -> Tensor:
    """Sound features of every step of training scenes, float64 (N, D)."""
    dataset = Scenes("train", scenes, image_size=24)
    features = []
    for number in range(scenes):
        waveform = dataset.item(number, frozenset()).waveform
        features.append(encoder(waveform[None], 10, 1.0)[0])
    return torch.cat(features).double()


def main() -> None:
    """Write the file of the sound encoder again, and print how features vary before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    args = parser.parse_args()
    path = scene_weights("audio")
    facts, _ = read_tensors(path)
    encoder = SmallAudio().eval()
    load_small(encoder, path)
    before = scene_features(encoder, args.scenes)
    mean, matrix = half_whitening(before)
    whiten_layer(encoder.out, mean, matrix)
    for name, features in {"before": before, "after": (before - mean) @ matrix}.items():
        deviation = torch.linalg.eigvalsh(features.T.cov()).clamp(min=0).sqrt().flip(0)
        print(f"{name}: largest deviation {deviation[0]:.2f}, 13th {deviation[12]:.2f}, 64th {deviation[63]:.2f}")
    facts["half_whitened"] = f"scripts/whiten_scene_sound.py --scenes {args.scenes}"
    with atomic(path) as part:
        write_tensors(part, encoder.state_dict(), facts)


if __name__ == "__main__":
    main()
