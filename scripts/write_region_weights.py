# SPDX-License-Identifier: Apache-2.0
"""Train and write the small encoders of regions and of captions, which share one space as CLIP's do.

True regions of scenes are cut out and matched with the captions of their steps by CLIP's loss. The towers begin with
the weights that come with avkit. SSUFormer's mask collaboration and regional consistency use the pair frozen.

python scripts/write_region_weights.py
"""

import argparse
import json
import statistics

import torch
import torch.nn.functional as F

from avkit.collate import crop
from avkit.datasets.scenes import Scenes
from avkit.encoders.small import SmallEmbedding, SmallSentence
from avkit.encoders.small_weights import load_small, scene_weights
from avkit.files import atomic
from avkit.nn.region_crop import cut_out
from avkit.reading.tensors import write_tensors
from avkit.text.tokenizer import UNKNOWN

BATCH = 64
#: Seed of the scenes, which no training of a system uses.
WORLD = 23


def make_pair(words: list[str]) -> tuple[SmallEmbedding, SmallSentence]:
    """Both encoders, their towers with the weights that come with avkit."""
    torch.manual_seed(0)
    image = SmallEmbedding()
    sentence = SmallSentence(words)
    load_small(image.tower, scene_weights("visual"))
    load_small(sentence.tower, scene_weights("text"))
    return image, sentence


def read_regions(scenes: Scenes, first: int) -> tuple[torch.Tensor, list[str]]:
    """Regions (N, 3, H, W) of a step of each scene, and their captions; steps in which nothing is seen count too."""
    regions = []
    captions = []
    for number in range(first, first + BATCH):
        item = scenes.item(number % len(scenes), {"mask", "caption"})
        item = crop(item, number % item.steps, 1)
        assert item.frames is not None
        regions.append(cut_out(item.frames, item.targets["mask"].float()))
        captions.extend(item.targets["caption"])
    return torch.cat(regions), captions


def main() -> None:
    """Train the pair, and write a file per encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    scenes = Scenes("train", 100_000, image_size=64, seed=WORLD)
    image, sentence = make_pair(scenes.vocabulary.words)
    log_scale = torch.nn.Parameter(torch.tensor(2.6))
    optimizer = torch.optim.AdamW([*image.parameters(), *sentence.parameters(), log_scale], args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps)
    right = []
    for step in range(args.steps):
        pictures, captions = read_regions(scenes, step * BATCH)
        logits = log_scale.exp() * F.normalize(image(pictures).frame) @ F.normalize(sentence(captions).pooled).T
        pairs = torch.arange(BATCH)
        loss = (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right.append(float((logits.argmax(1) == pairs).float().mean()))
        if step % 100 == 99:
            print(
                f"step {step + 1}: {statistics.mean(right[-100:]):.3f} of regions have their caption first", flush=True
            )
    facts = {
        "command": f"python scripts/write_region_weights.py --steps {args.steps} --lr {args.lr}",
        "right first of 64": f"{statistics.mean(right[-100:]):.3f}",
    }
    words = {"words": json.dumps(sentence.tower.tokenizer.words[UNKNOWN + 1 :])}
    for kind, name, encoder, more in (
        ("visual", "small_embedding", image, {}),
        ("text", "small_sentence", sentence, words),
    ):
        path = scene_weights(kind, name)
        with atomic(path) as temporary:
            write_tensors(temporary, encoder.state_dict(), {"encoder": f"{name}, {kind}", **facts, **more})
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
