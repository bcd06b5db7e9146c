# SPDX-License-Identifier: Apache-2.0
"""What looking into the right seconds is worth to TSPM: clips of a minute in which ten seconds hold the answer.

    python benchmarks/selection.py

A clip is six scenes of ten seconds. The question names a thing that is seen in one of them alone, and asks which other
thing is seen with it; only the pictures of that scene tell. Features are of a perfect recogniser with noise: a picture
is the sum of what is seen in it, its 16 parts are what is in each, sound is what is heard, and a statement lies where
pictures of its thing do, as those of CLIP do. So the rows differ by selection alone. `right seconds` is the share of
the chosen seconds that are of the right scene.
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.scenes import CLASSES, sample_scene, track
from avkit.systems.tspm.network import TSPM
from avkit.systems.tspm.options import TSPMOptions

WIDTH, PARTS, SECONDS, SCENES = 48, 4, 10, 6
ROWS = {
    "as published: pictures of the first seconds": {},
    "pictures of the chosen seconds, choice as it began": {"patch_select": "index"},
    "pictures of the chosen seconds, choice learnt": {"patch_select": "index", "select_grad": "straight_through"},
    "the same, chosen by the question itself": {"patch_select": "index", "select_grad": "straight_through"},
    "all seconds": {"temporal": False},
    "the right seconds, given": {"temporal": False},
}


@dataclass
class Clips:
    """Features of clips, their questions and answers."""

    audio: Tensor
    visual: Tensor
    patches: Tensor
    asked: Tensor
    answer: Tensor
    right: Tensor


class Maker:
    """Puts scenes together to clips.

    Args:
        split: Of the scenes.
        count: Scenes to choose from.
        noise: Deviation of what is added to every feature.
    """

    def __init__(self, split: str, count: int, noise: float) -> None:
        draw = torch.Generator().manual_seed(7)
        self.look, self.sound, self.word = (
            F.normalize(torch.randn(len(CLASSES), WIDTH, generator=draw), dim=-1) * 3 for _ in range(3)
        )
        self.noise = noise
        self.audio, self.visual = (torch.zeros(count, SECONDS, WIDTH) for _ in range(2))
        self.patches = torch.zeros(count, SECONDS, PARTS * PARTS, WIDTH)
        self.kinds: list[set[int]] = []
        self.asked: list[tuple[int, int, int]] = []
        for k in range(count):
            scene = sample_scene(k, split)
            state, kinds = track(scene), [t.kind for t in scene.things]
            place = np.clip((state.centre * PARTS).astype(int), 0, PARTS - 1)
            part = place[..., 1] * PARTS + place[..., 0]
            self.kinds.append(set(kinds))
            for i, kind in enumerate(kinds):
                visible = np.flatnonzero(state.visible[i, :SECONDS])
                sounding = np.flatnonzero(state.sounding[i, :SECONDS])
                self.visual[k, visible] += self.look[kind]
                self.patches[k, visible, part[i][visible]] += self.look[kind]
                self.audio[k, sounding] += self.sound[kind]
                others = {
                    kinds[j] for j in range(len(kinds)) if j != i and (state.visible[i] & state.visible[j]).sum() >= 2
                }
                if len(visible) >= 3 and len(others) == 1 and kinds.count(kind) == 1:
                    self.asked.append((k, kind, others.pop()))

    def batch(self, rng: np.random.Generator, count: int) -> Clips:
        """Clips with a question each."""
        chosen = [self.asked[k] for k in rng.integers(len(self.asked), size=count)]
        right, scenes = rng.integers(SCENES, size=count), rng.integers(len(self.kinds), size=(count, SCENES))
        for row, (number, kind, _) in enumerate(chosen):
            for place in range(SCENES):
                while kind in self.kinds[scenes[row, place]]:
                    scenes[row, place] = rng.integers(len(self.kinds))
            scenes[row, right[row]] = number
        index = torch.from_numpy(scenes)
        features = [x[index].flatten(1, 2) for x in (self.audio, self.visual, self.patches)]
        noisy = [x + self.noise * torch.randn_like(x) for x in features]
        asked, answer = torch.tensor([x[1:] for x in chosen]).T
        return Clips(*noisy, asked, answer, torch.from_numpy(right))


def run(name: str, maker: Maker, network: TSPM, clips: Clips) -> tuple[Tensor, Tensor]:
    """Logits, and the share of the chosen seconds that are right."""
    audio, visual, patches = clips.audio, clips.visual, clips.patches
    if name.startswith("the right"):
        rows = clips.right[:, None] * SECONDS + torch.arange(SECONDS)
        at = torch.arange(len(rows))[:, None]
        audio, visual, patches = audio[at, rows], visual[at, rows], patches[at, rows]
    prompt = maker.look[clips.asked] if "question" not in name else maker.word[clips.asked]
    out = network(audio, visual, patches, maker.word[clips.asked], prompt)
    return out.logits, (out.chosen // SECONDS == clips.right[:, None]).float().mean()


def measure(name: str, train: Maker, test: Maker, steps: int, seed: int) -> dict[str, float]:
    """Accuracy on clips of unseen scenes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    options = ROWS[name]
    network = TSPM(
        TSPMOptions(width=WIDTH, inner=2 * WIDTH, topk=SECONDS, **options),
        audio=WIDTH,
        visual=WIDTH,
        patches=WIDTH,
        text=WIDTH,
        answers=len(CLASSES),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
    for _ in range(steps):
        clips = train.batch(rng, 32)
        loss = F.cross_entropy(run(name, train, network.train(), clips)[0], clips.answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    rng = np.random.default_rng(1)
    right = []
    shares = []
    torch.manual_seed(1)
    with torch.inference_mode():
        for _ in range(16):
            clips = test.batch(rng, 64)
            logits, share = run(name, test, network.eval(), clips)
            right.append((logits.argmax(-1) == clips.answer).float().mean())
            shares.append(share)
    return {"accuracy": float(torch.stack(right).mean()), "right seconds": float(torch.stack(shares).mean())}


def main() -> None:
    """Train every row and print a line of JSON each."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", default="|".join(ROWS))
    p.add_argument("--steps", type=int, default=800)
    p.add_argument("--scenes", type=int, default=4000)
    p.add_argument("--noise", type=float, default=0.3)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    train, test = Maker("train", args.scenes, args.noise), Maker("test", args.scenes // 4, args.noise)
    print(json.dumps({"questions": len(train.asked), "of test": len(test.asked)}), flush=True)
    for name in args.rows.split("|"):
        print(json.dumps({"row": name, **measure(name, train, test, args.steps, args.seed)}), flush=True)


if __name__ == "__main__":
    main()
