# SPDX-License-Identifier: Apache-2.0
"""An hour of one-second steps through backbone and DAVEL head, decoding included: time and memory by length.

Pictures and sound come as stored features, as long videos do; the encoders are linear in the number of steps anyway.
`--plot FILE.png` draws the curve.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from temporal import measure

from avkit.batch import Item, Vocabulary
from avkit.collate import collate
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.training.module import AVModel

LENGTHS = (225, 450, 900, 1800, 3600)


def main() -> None:
    """Print a line per length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--patches", type=int, default=16, help="visual tokens per step")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = AVModel(
        "davel",
        Vocabulary(classes=[f"class {k}" for k in range(100)]),
        AVUnifiedConfig(visual_features=512, audio_features=128),
    ).eval()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.patches} visual tokens a step")
    print(f"{'T':>6}{'seconds':>10}{'ms a step':>11}{'MB':>8}{'kB a step':>11}")
    measured = []
    for steps in args.lengths:
        item = Item(
            "hour", float(steps), 1.0, visual=torch.randn(steps, args.patches, 512), audio=torch.randn(steps, 128)
        )
        with torch.inference_mode():
            seconds, megabytes, _ = measure(partial(model, collate([item], "davel")))  # type: ignore[arg-type]
        measured.append((steps, seconds, megabytes))
        row = (
            f"{steps:>6}{seconds:>10.3f}{1e3 * seconds / steps:>11.3f}{megabytes:>8.0f}{1e3 * megabytes / steps:>11.1f}"
        )
        print(row, flush=True)
    if args.plot:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 2.6), layout="constrained")
        for axis, column, label in zip(figure.subplots(1, 2), (1, 2), ("seconds", "MB"), strict=True):
            axis.plot([row[0] for row in measured], [row[column] for row in measured], marker="o")
            axis.set(xlabel="steps", ylabel=label, xlim=0, ylim=0)
            axis.grid(linewidth=0.5)
        figure.savefig(args.plot, dpi=130)


if __name__ == "__main__":
    main()
