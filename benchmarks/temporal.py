# SPDX-License-Identifier: Apache-2.0
"""Temporal perception at 60, 600 and 3600 steps: blocks of windows against the plain masked form, in the same run."""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from avkit.backbone.temporal import TemporalPerception
from avkit.nn.attention import WindowAttention

WIDTH = 96


def measure(
    run: Callable[[], Sequence[torch.Tensor]], most: float = 0.5
) -> tuple[float, float, Sequence[torch.Tensor]]:
    """Best time in seconds of the runs that fit into `most` seconds, peak of memory in MB, and what came out.

    Memory is the largest sum of tensor bytes allocated at once, by torch's own profile of the first run. A first run
    that takes longer than `most` is the only one.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        start = time.perf_counter()
        out = run()
        times = [time.perf_counter() - start]
    now = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    while sum(times) < most:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times), peak / 1e6, out


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lengths", type=int, nargs="*", default=(60, 600, 3600), help="steps")
    lengths = parser.parse_args().lengths
    torch.manual_seed(0)
    blocks = TemporalPerception(WIDTH).eval()
    whole = plain(blocks)
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} threads, width {WIDTH}, windows 2, 4, 6")
    print(f"{'T':>6}{'blocks':>12}{'plain':>12}{'ratio':>8}{'MB blocks':>12}{'MB plain':>12}{'difference':>13}")
    for steps in lengths:
        audio, frame = torch.randn(2, 1, steps, WIDTH)
        valid = torch.ones(1, steps, dtype=torch.bool)
        with torch.inference_mode():
            ours, theirs = (measure(partial(m, audio, frame, valid)) for m in (blocks, whole))
        gap = max((x - y).abs().max().item() for x, y in zip(ours[2], theirs[2], strict=True))
        row = f"{steps:>6}{1e3 * ours[0]:>9.1f} ms{1e3 * theirs[0]:>9.1f} ms{theirs[0] / ours[0]:>8.2f}"
        print(f"{row}{ours[1]:>12.1f}{theirs[1]:>12.1f}{gap:>13.1e}", flush=True)


if __name__ == "__main__":
    main()
