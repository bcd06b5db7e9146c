# SPDX-License-Identifier: Apache-2.0
"""How many scenes per second one core makes: whole items at several picture sizes, then part by part.

Run `python benchmarks/scenes.py [--seconds 2]`. Each line is the median over single clips in processor time, so that
other processes on the machine do not count; loops, textures and grain are made before the clock starts.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

from avkit.datasets.scenes import Scenes
from avkit.scenes import render_frames, render_sound, sample_question, sample_scene, scene_captions, scene_targets


def milliseconds(call: Callable[[int], object], seconds: float) -> float:
    """Median processor time of `call(index)` over as many indices as fit into `seconds`."""
    for index in range(20):
        call(index)
    times: list[float] = []
    while sum(times) < seconds:
        start = time.process_time()
        call(len(times) % 500)
        times.append(time.process_time() - start)
    return 1000 * median(times)


def report(name: str, call: Callable[[int], object], seconds: float) -> None:
    cost = milliseconds(call, seconds)
    print(f"{name:32s}{cost:9.3f} ms{1000 / cost:10.0f} per second and core", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each line")
    seconds = parser.parse_args().seconds
    scenes = [sample_scene(i) for i in range(500)]
    for scene in scenes:
        render_sound(scene)
    for size in (64, 96, 128, 224):
        report(f"item, {size} pixels, all fields", Scenes(image_size=size).item, seconds)
    report("item, untrimmed, 96 pixels", Scenes(untrimmed=True).item, seconds)
    report("sample a scene", sample_scene, seconds)
    report("search a question", sample_question, seconds)
    report("pictures, 96 pixels", lambda i: render_frames(scenes[i]), seconds)
    report("truth, 96 pixels", lambda i: scene_targets(scenes[i]), seconds)
    report("sound", lambda i: render_sound(scenes[i]), seconds)
    report("words", lambda i: scene_captions(scenes[i]), seconds)


if __name__ == "__main__":
    main()
