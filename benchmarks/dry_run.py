# SPDX-License-Identifier: Apache-2.0
"""What `avkit fit --dry_run` says of memory and time beside what steps with whole batches take on a CPU.

Memory is that of the process at its peak, with Python and libraries. Each measurement has a process of its own.
With `--root DIR`, where the stores of `scenes_board.py` are, systems on stored features and the others of the board
are measured too. `--published DIR` measures published recipes as they are, sizes and batches with them, on scenes in
the layouts of their datasets, which are written to DIR, with stand-ins for stored features and random weights.

    python benchmarks/dry_run.py [--root DIR | --published DIR]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import scenes_board

#: Words of trainings by name.
TRAININGS = {
    "AV-Unified, avs, 128 pixels, 16 clips": "--tasks avs --data.image_size 128",
    "AV-Unified, avqa, 128 pixels, 16 clips": "--tasks avqa --data.image_size 128 --data.batch_size.whole 16",
    "AV-Unified, davel, 64 pixels, 16 clips": "--tasks davel --data.batch_size.untrimmed 16",
    "AV-Unified, ra_ssu, width 256, 128 pixels": "--tasks ra_ssu --data.image_size 128 --model.system.width 256",
    "SSUFormer, ra_ssu, 128 pixels, 8 clips": "--tasks ra_ssu --model.system.name ssuformer --data.image_size 128 "
    "--data.batch_size.trimmed 8 --data.batch_size.whole 8",
}
#: Systems of the board of scenes, by the names of their runs.
BOARD = ("ccnet", "tspm", "han", "psp", "ez_vsl", "tpavi", "avsegformer")
#: Published recipes by their experiments.
PUBLISHED = (
    *("psp_ave", "han_llp", "mm_pyramid_llp", "ez_vsl_vggss_10k", "tpavi_s4", "avsegformer_s4", "avst_music_avqa"),
    *("pstp_music_avqa", "tspm_music_avqa", "ccnet_unav100_one_peace", "ccnet_unav100_davel_i3d"),
)


def published(root):
    """Words of published recipes by name."""
    from avkit.cli.reproduction_scenes import make_data, without_weights
    from avkit.leaderboard import read_experiments

    rows = {}
    for experiment in read_experiments():
        if experiment.id in PUBLISHED:
            data = make_data(experiment, root)
            words = [*experiment.words(), *without_weights(experiment, root), "--data.root", str(data)]
            rows[f"{experiment.recipe[-1].removesuffix('.yaml')}, {experiment.dataset}"] = words
    return rows


def trainings(root):
    """Words of all trainings by name."""
    rows = {name: words.split() for name, words in TRAININGS.items()}
    if root is None:
        return rows
    for entry in scenes_board.entries():
        if entry.key in BOARD:
            name = f"{entry.method}, {entry.task}, {entry.budget.batch} clips"
            rows[name] = scenes_board.command(entry, root, Path("unused"), 0)[1:]
    return rows


def measure(kind, words):
    """Bytes and seconds of a step, said or real."""
    import torch

    from avkit.cli.dry_run import _batches
    from avkit.cli.trainer import make_cli
    from avkit.systems.encoder_weights import random_encoders
    from avkit.training.dry_run import StepProbe

    torch.set_num_threads(1)
    with random_encoders(allowed=True):
        cli = make_cli([*words, "--trainer.accelerator", "cpu", "--data.loader.workers", "0"], training=True)
    (name,) = cli.datamodule.benchmarks
    size = cli.datamodule.batch_size.for_training(cli.datamodule.spec(name))
    make = _batches(cli, name)
    probe = StepProbe(cli.model.system, torch.device("cpu"), cli.trainer.precision_plugin.train_step_context)
    if kind == "said":
        cost = probe.cost(make, size)
        return {"bytes": cost.memory, "seconds": cost.seconds}
    batch = make(size)
    probe.memory.start()
    before = probe.memory.read()
    seconds = [probe._seconds(batch) for _ in range(3)]
    return {"bytes": probe.memory.read(), "seconds": min(seconds), "before": before, "clips": size}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=["said", "real"])
    parser.add_argument("words", nargs=argparse.REMAINDER)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--published", type=Path, help="folder for data of published recipes")
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(measure(options.kind, options.words)))
        return
    print("| training | said, GB | real, GB | error | of what the steps add | said, s | real, s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    rows = trainings(options.root) if options.published is None else published(options.published)
    for name, words in rows.items():
        costs = {}
        for kind in ("said", "real"):
            command = [sys.executable, __file__, kind, *map(str, words)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise SystemExit(result.stderr[-2000:])
            costs[kind] = json.loads(result.stdout.splitlines()[-1])
        said, real = costs["said"], costs["real"]
        error = 100 * (said["bytes"] / real["bytes"] - 1)
        grown = 100 * ((said["bytes"] - real["before"]) / (real["bytes"] - real["before"]) - 1)
        cells = [f"{cost['bytes'] / 1e9:.2f}" for cost in (said, real)]
        name = f"{name}, {costs['real']['clips']} clips" if options.published else name
        cells += [f"{error:+.0f} %", f"{grown:+.0f} %", f"{said['seconds']:.2f}", f"{real['seconds']:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
