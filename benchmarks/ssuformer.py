# SPDX-License-Identifier: Apache-2.0
"""SSUFormer's ablation on scenes, in the order of the paper's Table V, and its joint rows beside SSU-S and SSU-D.

Each row is a recipe `ssuformer/...` after `ssuformer/scenes`, trained with several seeds at a size for a CPU. What the
paper takes from large pretrained models is stood in for, and every row that uses it uses the same:

- encoders of pictures and sound, and the frozen CLIP: small encoders that were trained on scenes and come
  with avkit;
- the vision-language expert: for each step, random vectors of class, colour and place of all that is in view, summed,
  with noise. Like a large vision-language model it knows what is seen and where, and hears nothing.

Runs under `--out` that are there already are left alone. Options not known here go to `avkit fit`.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.scenes import CLASSES, COLOURS, sample_scene, track

#: Rows in the paper's order: Table V, then Tables II and III.
ROWS = {
    "baseline": "baseline",
    "focal": "+ Focal",
    "mcm": "+ MCM",
    "rcc": "+ RCC",
    "ssu": "+ MoHE (SSU)",
    "ssu_s": "SSU-S",
    "ssu_d": "SSU-D",
}
METRICS = ("mIoU", "F", "BLEU-4", "ROUGE-L", "METEOR")
SIZES = {"train": 20_000, "val": 32, "test": 128}
PICTURE = 64


def write_expert(path: Path, seed: int, sizes: Mapping[str, int], width: int = 64, noise: float = 0.5) -> None:
    """What a model that sees and does not hear would make of each step, in a store."""
    draws = np.random.default_rng(0)
    kinds, colours, places = (draws.standard_normal((n, width)) for n in (len(CLASSES), len(COLOURS), 9))
    clips = []
    for split, size in sizes.items():
        for index in range(size):
            scene = sample_scene(index, split, seed if split == "train" else 0)  # all seeds are tested in one world
            state = track(scene)
            cell = np.clip((3 * state.centre).astype(int), 0, 2)
            vectors = np.stack([kinds[t.kind] + colours[t.colour] for t in scene.things])[:, None]
            vectors = vectors + places[3 * cell[..., 1] + cell[..., 0]]
            visible = (vectors * state.visible[..., None]).sum(0)
            clips.append((f"scenes-{split}-{index:06d}", visible + noise * draws.standard_normal(visible.shape)))
    write_store(
        path, clips, FeatureFacts("seen, not heard", hop=1.0, dataset="scenes", made_by="benchmarks/ssuformer.py")
    )


def fit(out: Path, row: str, seed: int, steps: int, sizes: Mapping[str, int], extra: list[str]) -> dict[str, float]:
    """Figures of a row's run with a seed."""
    name, report = f"{row}-{seed}", out / f"{row}-{seed}" / "report.json"
    if not report.exists():
        shutil.rmtree(out / name, ignore_errors=True)  # cut short before
        options = {
            "out": out,
            "name": name,
            "seed_everything": seed,
            "data.image_size": PICTURE,
            "data.scenes.train_size": sizes["train"],
            "data.scenes.val_size": sizes["val"],
            "data.scenes.test_size": sizes["test"],
            "data.steps_per_epoch": steps,
            "data.features.expert": out / f"expert-{seed}.h5",
            "data.loader.workers": 0,
            "trainer.max_epochs": 1,
            "trainer.enable_progress_bar": "false",
        }
        configs = ["--config", "ssuformer/scenes", "--config", f"ssuformer/{row}"]
        words = ["fit", *configs, *(w for k, v in options.items() for w in (f"--{k}", v))]
        with (out / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", "avkit", *map(str, words), *extra]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    content = json.loads(report.read_text())
    print(f"{name}: {content['facts']['speed'].get('training', 'tested again')}", flush=True)
    return {row["metric"]: row["value"] for row in content["rows"]}


def table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds and half the spread, with each step's effect, in Markdown."""
    lines = [f"| row | {' | '.join(METRICS)} |", f"|---|{'---|' * len(METRICS)}"]
    before: dict[str, float] = {}
    for row, title in ROWS.items():
        if row not in figures:
            continue
        cells = []
        for metric in METRICS:
            values = [result[metric] for result in figures[row] if metric in result]
            if not values:
                cells.append("-")
                continue
            mean, spread = statistics.mean(values), (max(values) - min(values)) / 2
            step = f" ({mean - before[metric]:+.3f})" if metric in before and row not in ("ssu_s", "ssu_d") else ""
            cells.append(f"{mean:.3f} ± {spread:.3f}{step}")
            if row not in ("ssu_s", "ssu_d"):
                before[metric] = mean
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--train", type=int, default=SIZES["train"], help="scenes to train on")
    parser.add_argument("--test", type=int, default=SIZES["test"], help="scenes to test on")
    parser.add_argument("--together", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/ssuformer"))
    args, extra = parser.parse_known_args()
    sizes = {**SIZES, "train": args.train, "test": args.test}
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):  # each has a world of its own
        if not (args.out / f"expert-{seed}.h5").exists():
            write_expert(args.out / f"expert-{seed}.h5", seed, sizes)
    jobs = [(row, seed) for seed in range(args.seeds) for row in args.rows.split(",")]
    with ThreadPoolExecutor(args.together) as pool:
        results = list(pool.map(lambda job: fit(args.out, *job, args.steps, sizes, extra), jobs))
    figures: dict[str, list[dict[str, float]]] = {}
    for (row, _), values in zip(jobs, results, strict=True):
        figures.setdefault(row, []).append(values)
    print(table(figures))


if __name__ == "__main__":
    main()
