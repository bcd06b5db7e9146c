# SPDX-License-Identifier: Apache-2.0
"""What repeating captions while nothing changes (`--caption_change_threshold`) costs and brings.

For each threshold: the share of captions that are written, their time, BLEU-4; `flicker`, how often the caption changes
from one step to the next where the true one does not; `stale`, how often it stays where the true one changes; and
`left`, how often it stays though what it is about left the view.
"""

import argparse
import time
from pathlib import Path

import torch

import avkit
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.metrics.captions import CaptionScores

THRESHOLDS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4)


def share(hits: int, of: int) -> str:
    """A rate as text."""
    return f"{hits / max(1, of):.3f}"


def main() -> None:
    """Print a row per threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="of the world that the run was trained in")
    args = parser.parse_args()
    predictor = avkit.load(args.run, "cpu")
    scenes = Scenes("test", args.clips, args.seed, predictor.image_size)
    fields = {"caption", "mask"}
    items = [scenes.item(i, fields) for i in range(args.clips)]
    batches = [collate(items[i : i + 8], "ra_ssu") for i in range(0, args.clips, 8)]
    print("| threshold | written | time s | BLEU-4 | flicker | stale | left |\n|--:|--:|--:|--:|--:|--:|--:|")
    for threshold in THRESHOLDS:
        predictor.set_caption_change_threshold(threshold)
        scores, written, seconds = CaptionScores(meteor=False, rouge=False, cider=False), 0, 0.0
        counts = {name: [0, 0] for name in ("flicker", "stale", "left")}
        for batch in batches:
            start = time.perf_counter()
            with torch.inference_mode():
                prediction = predictor.model(batch)
            seconds += time.perf_counter() - start
            written += int(prediction["caption_written"].sum())
            for clip, (guesses, truths) in enumerate(zip(prediction["caption"], batch.targets["caption"], strict=True)):
                scores.update(guesses, truths)
                full = batch.targets["mask"][clip].flatten(1).any(1).tolist()
                for t in range(1, len(truths)):
                    same, kept = truths[t] == truths[t - 1], guesses[t] == guesses[t - 1]
                    counts["flicker"][0] += same and not kept
                    counts["flicker"][1] += same
                    counts["stale"][0] += kept and not same
                    counts["stale"][1] += not same
                    counts["left"][0] += full[t - 1] and not full[t] and kept
                    counts["left"][1] += full[t - 1] and not full[t]
        total = sum(len(b.valid) * b.valid.shape[1] for b in batches)
        rates = " | ".join(share(*counts[name]) for name in counts)
        bleu = float(scores.compute()["BLEU-4"])
        print(f"| {threshold:g} | {written / total:.3f} | {seconds:.1f} | {bleu:.3f} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
