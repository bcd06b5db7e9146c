# SPDX-License-Identifier: Apache-2.0
"""Captions of 40 words with and without the cache of keys and values, in the same run."""

import platform
import time

import torch

from avkit.heads.caption import CaptionHead
from avkit.words import END

ROWS, WIDTH, WORDS, LENGTH = 160, 96, 128, 40


def main() -> None:
    """Print times, their ratio, and whether the words are the same."""
    torch.manual_seed(0)
    head = CaptionHead(WIDTH, WORDS).eval()
    with torch.no_grad():
        head.embed.weight[END] = 0  # a logit of 0, below the best of all others: no caption ends early
    memory = torch.randn(ROWS, 66, WIDTH)
    found, times = {}, {}
    for cache in (True, False):
        head.generate(memory, most=4, cache=cache)
        start = time.perf_counter()
        found[cache] = head.generate(memory, most=LENGTH, cache=cache)
        times[cache] = time.perf_counter() - start
    print(
        f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {ROWS} "
        f"captions of {found[True].shape[1]} words"
    )
    print(
        f"with cache {times[True]:.2f} s, without {times[False]:.2f} s, ratio {times[False] / times[True]:.1f}, "
        f"same words: {torch.equal(found[True], found[False])}"
    )


if __name__ == "__main__":
    main()
