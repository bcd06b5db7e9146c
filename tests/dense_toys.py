# SPDX-License-Identifier: Apache-2.0
"""Small untrimmed clips whose features say what happens, for tests of systems that find events."""

import torch

from avkit.batch import Batch


def made_of_events(clips, steps, widths, classes, seed=0):
    """A batch of clips with one event per class; both streams say which classes are on, in noise.

    Args:
        clips: Number of clips.
        steps: Steps of a second each.
        widths: Widths of visual and audio features, at least as many as classes.
        classes: Number of classes.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    visual, audio = (0.1 * torch.randn(clips, steps, width, generator=generator) for width in widths)
    events = []
    for clip in range(clips):
        rows = []
        for label in range(classes):
            length = int(torch.randint(4, steps // 2, (1,), generator=generator))
            start = int(torch.randint(0, steps - length, (1,), generator=generator))
            visual[clip, start : start + length, label] += 1
            audio[clip, start : start + length, label] += 1
            rows.append([start, start + length, label])
        events.append(torch.tensor(rows, dtype=torch.float32))
    valid = torch.ones(clips, steps, dtype=torch.bool)
    return Batch(
        "davel",
        [f"clip {clip}" for clip in range(clips)],
        torch.full((clips,), float(steps)),
        1.0,
        valid,
        visual=visual[:, :, None],
        audio=audio,
        targets={"events": events},
    )


def train_on_events(system, batch, steps, rate):
    """Train a system on one batch; returns the last loss over the first."""
    optimizer = torch.optim.Adam(system.parameters(), rate)
    losses = []
    system.train()
    for _ in range(steps):
        loss = system.loss(system(batch), batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses[-1] / losses[0]
