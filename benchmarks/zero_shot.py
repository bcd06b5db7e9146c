# SPDX-License-Identifier: Apache-2.0
"""The system without training on labelled real clips: names of what is heard, time of each stage, memory.

`python benchmarks/zero_shot.py DATA --weights sound=PATH` prints the tables of `RESULTS.md`. DATA holds the real clips,
under the paths of `LABELLED`.
"""

import argparse
import resource
import time
from pathlib import Path

import torch

from avkit.inference.zero_shot import load_zero_shot
from avkit.media.decode import read_waveform
from avkit.systems.zero_shot.taggers import Tagger
from avkit.systems.zero_shot.targets import events

#: Clips with what their labels say is heard, as events; several where any of them is right.
LABELLED = (
    ("crab/avvp/6aV6c8mY0lg.mp4", "LLP: Chainsaw", ("chainsaw",)),
    ("llp/video/BjCEufrlXm4.mp4", "LLP: Speech, Dog", ("dog", "speech")),
    ("crab/ave/-67UNKFmRLk.mp4", "AVE: Violin, fiddle", ("violin",)),
    ("crab/-en7GAdXAQk.mp4", "AVE: Male speech", ("speech",)),
    ("unav/--HuBNHXu9I.mp4", "UnAV-100: man speaking", ("speech",)),
    ("avsbench/single_source/p04SYXuBSQ.mp4", "S4: dog", ("dog",)),
    ("avsbench/single_source/0BLiYNtFSjA.mp4", "S4: horse", ("horse",)),
    ("avsbench/demo/single/lawn_mowing_G4TowkVcclw.mp4", "S4: lawn mowing", ("lawn mower",)),
    ("crab/s4/audio.wav", "AVSS: mower", ("lawn mower",)),
    ("crab/arig/audio.wav", "AVSS: bus", ("bus",)),
    ("crab/ms3/audio.wav", "AVSS: man", ("speech", "singing")),
    ("crab/avss/audio.wav", "AVSS: clarinet", ("clarinet",)),
    ("crab/ref-avs/audio.wav", "Ref-AVS: a siren", ("siren", "emergency vehicle", "ambulance", "fire truck")),
    ("crab/avqa/00006835.mp3", "MUSIC-AVQA: saxophone", ("saxophone",)),
    ("avqa/video/009GwYB4Z7k_000030.mp4", "AVQA: crows", ("crow",)),
    ("avsbench/demo/multiple/6DR8dA9TDOc1.mp4", "MS3: marimba", ("marimba",)),
    ("avsbench/frog.wav", "AVSBench-Robust: frog", ("frog",)),
)
#: Repeated measurements of the time of a stage.
REPEATS = 15


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real clips")
    parser.add_argument("--weights", help="as avkit predict zero_shot takes them")
    parser.add_argument("--parts", help="as avkit predict zero_shot takes them")
    args = parser.parse_args()
    predictor = load_zero_shot("cpu", weights=args.weights, parts=args.parts, offline=True)
    tagger = predictor.model.system.parts_by_stage.require("sound", Tagger, torch.device("cpu"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print_names(args.data, tagger, predictor.model.system.config.heard)
    print_times(args.data, predictor, tagger)


def print_names(data: Path, tagger: Tagger, threshold: float) -> None:
    """A row per clip: the three events with the highest mean score, and those that count as heard in some step."""
    targets = list(events().values())
    first = 0
    among_three = 0
    print("| clip | label | first three, mean score | label is | heard in some window |\n|---|---|---|---|---|")
    for path, label, right in LABELLED:
        scores = tagger.score(tagger.encode(read_waveform(data / path)), targets)
        means = scores.mean(0)
        best = means.argsort(descending=True)[:3].tolist()
        names = [targets[number].name for number in best]
        place = min((names.index(name) + 1 for name in right if name in names), default=0)
        first += place == 1
        among_three += place > 0
        told = [target.name for target, peak in zip(targets, scores.amax(0), strict=True) if peak >= threshold]
        listed = ", ".join(f"{targets[number].name} {means[number]:.2f}" for number in best)
        verdict = {0: "**missed**", 1: "first"}.get(place, "among them")
        print(f"| `{path}` | {label} | {listed} | {verdict} | {', '.join(told) or 'nothing'} |")
    print(f"\nfirst: {first} of {len(LABELLED)}; among three: {among_three} of {len(LABELLED)}\n")


def print_times(data: Path, predictor, tagger: Tagger) -> None:
    """Seconds of the tagger on 10 s of sound, of a whole prediction of a 10 s clip by stage, and peak memory."""
    clip = data / LABELLED[0][0]
    waveform = read_waveform(clip)[:160_000]
    times = []
    used = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        start_used = time.process_time()
        tagger.encode(waveform)
        times.append(time.perf_counter() - start)
        used.append(time.process_time() - start_used)
    middle = REPEATS // 2
    print(f"tagger, 10 s of sound: {sorted(times)[middle]:.3f} s, of a core {sorted(used)[middle]:.3f} s (medians)")
    predictor.predict(clip)
    seconds = predictor.model.system.parts_by_stage.seconds
    seconds.clear()
    start = time.perf_counter()
    predictor.predict(clip)
    total = time.perf_counter() - start
    stages = ", ".join(f"{stage} {value:.2f} s" for stage, value in seconds.items())
    print(f"a 10 s clip, all tasks: {total:.2f} s, of which {stages}; the rest decodes and draws up answers")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
