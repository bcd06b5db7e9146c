# SPDX-License-Identifier: Apache-2.0
"""Temporal perception at 60, 600 and 3600 steps: blocks of windows against the plain masked form, in the same run."""

import platform
import time
from collections.abc import Callable
from functools import partial

import torch

from avkit.backbone.attention import WindowAttention
from avkit.backbone.temporal import TemporalPerception

WIDTH = 96


def seconds(run: Callable[[], object], least: float = 0.5) -> float:
    """Best time of several runs."""
    run()
    times = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def peak(run: Callable[[], object]) -> float:
    """Largest sum of tensor bytes allocated at once, in MB, by torch's own profile of memory."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as p:
        run()
    now = most = 0
    for event in p.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most / 1e6


def plain(module: TemporalPerception) -> TemporalPerception:
    """The same weights with every window done as one T x T mask."""
    copy = TemporalPerception(WIDTH)
    copy.load_state_dict(module.state_dict())
    for part in copy.modules():
        if isinstance(part, WindowAttention):
            part.block = 10**9
    return copy.eval()


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    blocks = TemporalPerception(WIDTH).eval()
    whole = plain(blocks)
    print(
        f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, width {WIDTH}, "
        "windows 2, 4, 6"
    )
    print(f"{'T':>6}{'blocks':>12}{'plain':>12}{'ratio':>8}{'MB blocks':>12}{'MB plain':>12}{'difference':>13}")
    for steps in (60, 600, 3600):
        audio, frame = torch.randn(2, 1, steps, WIDTH)
        valid = torch.ones(1, steps, dtype=torch.bool)
        with torch.inference_mode():
            ours, theirs = (partial(m, audio, frame, valid) for m in (blocks, whole))
            a, b = seconds(ours), seconds(theirs)
            gap = max((x - y).abs().max().item() for x, y in zip(ours(), theirs(), strict=True))
            memory = peak(ours), peak(theirs)
        row = f"{steps:>6}{1e3 * a:>9.1f} ms{1e3 * b:>9.1f} ms{b / a:>8.2f}"
        print(f"{row}{memory[0]:>12.1f}{memory[1]:>12.1f}{gap:>13.1e}")


if __name__ == "__main__":
    main()
