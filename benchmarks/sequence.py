# SPDX-License-Identifier: Apache-2.0
"""What a trained sequence decoder has learnt, slot by slot: `python benchmarks/sequence.py RUN --tasks ave,davel`.

For each kind of token of each form of a run with `--model.interface sequence`: how many there are, the loss beside the
entropy of their frequencies (what a decoder that looks at nothing could reach), how often the true token is the
likeliest after true ones (teacher forcing), and how often it is written in free decoding. Then where the last layer
looks (share of attention by kind of token of the memory), the size of the backbone's tokens, and the classes written.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from avkit.batch import Batch, Tokens
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.heads.codec import PAD
from avkit.heads.sequence import SequenceDecoder
from avkit.heads.token_scores import SlotScores
from avkit.inference.run_model import load_model
from avkit.systems.av_unified.system import AVUnified
from avkit.tasks import find_task, split_names
from avkit.training.run_folder import RunFolder


def batches(task: str, clips: int, size: int = 8) -> Iterator[Batch]:
    """Test scenes of a task, long ones cropped."""
    kind = find_task(task)
    scenes = Scenes("test", size=clips)
    fields = frozenset((*kind.targets, *kind.optional)) & scenes.provides
    for first in range(0, clips, size):
        items = [crop(scenes.item(number, fields), 0, 64) for number in range(first, min(first + size, clips))]
        yield collate(items, task)


def entropy(targets: Tensor) -> float:
    """Entropy in nats of the frequencies of whole numbers."""
    share = targets.bincount().float() / len(targets)
    return float(-torch.xlogy(share, share).sum())


def attention(decoder: SequenceDecoder, tokens: Tokens, form: str, task: str) -> dict[str, float]:
    """Share of the last layer's attention by kind of memory, at the first token of each row."""
    shape = decoder.codec.form(form, task)
    memory = decoder.read(tokens, shape)
    x = decoder.scores.embed(torch.full((len(memory.tokens), 1), decoder.codec.start(form)), shape, memory.names)
    x = x + decoder.position[:1]
    weights = torch.zeros(0)
    for layer in decoder.layers:
        after = layer(x, memory.tokens, memory.bias[:, None, None], causal=True)
        own = layer.own(layer.norm_self(x), layer.own.keys(layer.norm_self(x)), None, causal=True)
        query = layer.memory.query(layer.norm_memory(x + own))[:, 0].unflatten(-1, (layer.memory.heads, -1))
        keys = layer.memory.keys(memory.tokens)[0]
        match = torch.einsum("nhd,nhmd->nhm", query, keys) / query.shape[-1] ** 0.5
        weights = (match + memory.bias[:, None]).softmax(-1).mean(1)
        x = after
    steps = 1 if shape.per_step else tokens.audio.shape[1]
    by_step = weights.unflatten(1, (steps, -1))
    shares = {"audio": by_step[..., 0], "frame": by_step[..., 1], "patches": by_step[..., 2:].sum(-1)}
    table = {name: float(share.sum(1).mean()) for name, share in shares.items()}
    if steps > 1:
        mass = by_step.sum(-1)
        table[f"steps looked at, of {steps}"] = float((-torch.xlogy(mass, mass).sum(1)).exp().mean())
    return table


def describe(decoder: SequenceDecoder, system: AVUnified, task: str, form: str, clips: int) -> None:
    """Print the table of one form."""
    slots: dict[int, list[SlotScores]] = defaultdict(list)
    free: dict[int, list[Tensor]] = defaultdict(list)
    looks: Counter[str] = Counter()
    count = 0
    shape = decoder.codec.form(form, task)
    for batch in batches(task, clips):
        tokens = system.tokens(batch)
        if not count:
            norms = {"audio": tokens.audio, "frame": tokens.frame, "patches": tokens.patches}
            sizes = ", ".join(f"{name} {float(x.norm(dim=-1).mean()):.1f}" for name, x in norms.items())
            print(f"{task}, {form}: norms of the backbone's tokens: {sizes}")
        count += 1
        for number, scores in enumerate(decoder.slots(tokens, form, batch.targets, batch)):
            slots[number].append(scores)
        looks.update(attention(decoder, tokens, form, task))
        rows, kept = decoder.codec.encode(form, batch.targets, batch)
        written = decoder.write(tokens, form, task).tokens[kept.flatten()]
        size = max(rows.shape[1], written.shape[1])
        true, ours = (torch.nn.functional.pad(x, (0, size - x.shape[1]), value=PAD) for x in (rows, written))
        for place in range(1, size):
            if (place - 1) // len(shape.slots) >= shape.max_items:
                break  # an end that cannot but come
            there = true[:, place] != PAD
            slot = min((place - 1) % len(shape.slots), shape.in_order)
            free[slot].append((true[:, place] == ours[:, place])[there])
    for number, parts in slots.items():
        target = torch.cat([part.target for part in parts])
        losses = torch.cat([part.losses() for part in parts])
        right = torch.cat([part.log_p.argmax(1) == part.target for part in parts]).float()
        written_right = torch.cat(free[number]).float().mean()
        loss = f"loss {losses.mean():6.3f}   entropy {entropy(target):6.3f}"
        share = f"right {right.mean():.3f} taught, {written_right:.3f} free"
        print(f"  {parts[0].kind:14}{len(target):7d} tokens   {loss}   {share}")
    print("  looks at " + ", ".join(f"{name} {share / count:.2f}" for name, share in looks.items()))


@torch.no_grad()
def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tasks", help="names, joined by commas; all of the run where left out")
    parser.add_argument("--clips", type=int, default=48)
    args = parser.parse_args()
    model, facts = load_model(RunFolder(args.run))
    system = model.eval().system
    if not isinstance(system, AVUnified) or system.decoder is None:
        parser.error(f"{args.run} was not trained with --model.interface sequence.")
    for task in split_names(args.tasks or ",".join(facts["tasks"])):
        if find_task(task).weakly_supervised:
            print(f"{task}: its decoder learns from the head that teaches it, which the labels do not show")
            continue
        for form in find_task(task).sequence_forms:
            describe(system.decoder, system, task, form, args.clips)


if __name__ == "__main__":
    main()
