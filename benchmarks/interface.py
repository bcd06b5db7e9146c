# SPDX-License-Identifier: Apache-2.0
"""A head for each task against one decoder that writes sequences: both on scenes, same seed, same steps.

Prints what the code of masks loses, then both runs' scores by the metrics that tasks are judged by. Runs under `--out`
that are there already are left alone; options not known here go to `avkit fit`.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from avkit.datasets.scenes import Scenes
from avkit.heads.mask_code import MaskCode
from avkit.tasks import find_task
from avkit.training.module import INTERFACES


def code_overlap(size: int, blocks: int, clips: int = 64) -> tuple[float, int]:
    """Mean IoU of scenes' masks and what the code makes of them, and the number of codes."""
    scenes = Scenes("val", clips, image_size=size)
    masks = torch.cat([scenes.item(i, frozenset({"mask"})).targets["mask"] for i in range(clips)]).bool()
    masks = masks[masks.flatten(1).any(1)]
    code = MaskCode(blocks)
    decoded = code.decode(code.encode(masks), (size, size))
    overlap = (decoded & masks).flatten(1).sum(1) / (decoded | masks).flatten(1).sum(1)
    return float(overlap.mean()), len(code)


def fit(out: Path, interface: str, tasks: str, steps: int, extra: list[str]) -> dict[tuple[str, str], dict[str, float]]:
    """Rows of the report of a run with this interface, by task and metric."""
    report = out / interface / "report.json"
    if not report.exists():
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out / interface, ignore_errors=True)  # cut short before
        words = ["fit", "--tasks", tasks, "--out", out, "--name", interface, "--model.interface", interface]
        words += ["--data.steps_per_epoch", steps, "--trainer.max_epochs", 1, "--trainer.enable_progress_bar", "false"]
        with (out / f"{interface}.log").open("w") as log:
            command = [sys.executable, "-m", "avkit", *map(str, words), *extra]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    content = json.loads(report.read_text())
    print(f"{interface}: {content['facts']['speed']['training']}; test {content['facts']['speed']['test']}", flush=True)
    return {(row["task"], row["metric"]): row for row in content["rows"]}


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/interface"))
    args, extra = parser.parse_known_args()
    for size in (64, 224):
        for blocks in (8, 16):
            overlap, codes = code_overlap(size, blocks)
            print(f"masks of {size} px as {blocks * blocks} of {codes} codes: IoU {overlap:.3f}")
    scores = [fit(args.out, interface, args.tasks, args.steps, extra) for interface in INTERFACES]
    print(f"{'task':10}{'metric':16}{'baseline':>10}" + "".join(f"{name:>10}" for name in INTERFACES))
    for task, metric in scores[0]:
        if metric in find_task(task).headline:
            row = [scores[0][task, metric]["baseline"], *(s[task, metric]["value"] for s in scores)]
            print(f"{task:10}{metric:16}" + "".join("         -" if x is None else f"{100 * x:>10.1f}" for x in row))


if __name__ == "__main__":
    main()
