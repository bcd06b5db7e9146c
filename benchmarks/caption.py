# SPDX-License-Identifier: Apache-2.0
"""Captions of 40 words with and without the cache of keys and values, in the same run: both text decoders.

AV-Unified's caption head at its size on scenes, and SSUFormer's text decoder at its published size, each for 160
captions: sixteen clips of ten steps, a batch of a test. Without the cache the whole row is read anew for each
word, and the words are read off its last state alone.
"""

import argparse
import platform
import time
from collections.abc import Callable

import torch

from avkit.heads.caption import CaptionDecoder
from avkit.systems.ssuformer.text_decoder import TextDecoder
from avkit.text.tokenizer import END


def compare(name: str, write: Callable[[bool], torch.Tensor]) -> None:
    """Print times, their ratio, and whether the words are the same."""
    captions: dict[bool, torch.Tensor] = {}
    times: dict[bool, float] = {}
    for cache in (True, False):
        start = time.perf_counter()
        captions[cache] = write(cache)
        times[cache] = time.perf_counter() - start
    rows, words = captions[True].shape
    print(
        f"{name}, {rows} captions of {words} words: with cache {times[True]:.2f} s, without {times[False]:.2f} s, "
        f"ratio {times[False] / times[True]:.1f}, same words: {torch.equal(captions[True], captions[False])}",
        flush=True,
    )


def main() -> None:
    """Compare both decoders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=40, help="words of each caption")
    parser.add_argument("--captions", type=int, default=160)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    head = CaptionDecoder(96, 128).eval()
    memory = torch.randn(args.captions, 66, 96)
    with torch.no_grad():
        head.embed.weight[END] = 0  # a logit of 0, below the best of all others: no caption ends early
    head.generate(memory, max_words=4)
    compare("caption head", lambda cache: head.generate(memory, max_words=args.words, cache=cache))
    decoder = TextDecoder(30_522, start=101, end=102).eval()
    with torch.no_grad():
        decoder.bias[102] = -1e4
    for rows in (10, args.captions):
        features = torch.randn(rows, 51, 512)
        decoder.generate(features, max_pieces=4)
        compare("text decoder", lambda cache, x=features: decoder.generate(x, max_pieces=args.words, cache=cache))


if __name__ == "__main__":
    main()
