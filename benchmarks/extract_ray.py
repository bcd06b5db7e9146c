# SPDX-License-Identifier: Apache-2.0
"""Extraction of many short clips on a local Ray cluster beside decoding alone and extraction without Ray.

Clips are links to a few files under names of their own, so that any number fits on a disk.
Usage: python benchmarks/extract_ray.py [--clips 10000] [--networks 1,2]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import torch
from extract import make_videos

from avkit.extraction.cluster import Cluster, ray_runner
from avkit.extraction.decoding import SourceDataset
from avkit.extraction.extract import extract
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.prefetch import iter_decoded
from avkit.extraction.recipe import ExtractionRecipe, FeatureStream
from avkit.extraction.sources import MediaSource


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clips", type=int, default=10_000)
    p.add_argument("--files", type=int, default=16, help="files that the clips share")
    p.add_argument("--networks", default="1,2", help="Ray's networks, a run for each number")
    p.add_argument("--workers", type=int, default=2, help="processes that decode without Ray")
    o = p.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="extract-ray-"))
    try:
        make_videos(folder, o.files, 64, 4)
        sources = [MediaSource(f"clip{k:06d}", folder, f"{k % o.files:04d}.mp4") for k in range(o.clips)]
        streams = (FeatureStream("frame", "pictures", "small", None, resize=64, crop=64),)
        recipe = ExtractionRecipe("bench", "", streams)
        forms = FeatureExtractor(streams, torch.device("cpu")).input_forms()
        start = time.perf_counter()
        for clip in iter_decoded(SourceDataset(sources, streams, forms), o.workers):
            assert not clip.error, clip.error
        _report("decoding alone", o.clips, start)
        start = time.perf_counter()
        extract(sources, recipe, folder / "local", workers=o.workers)
        _report("without Ray", o.clips, start)
        for count in map(int, o.networks.split(",")):
            start = time.perf_counter()
            runner = ray_runner(recipe, Cluster(count, device="cpu"), 64)
            extract(sources, recipe, folder / f"ray{count}", runner=runner)
            _report(f"Ray, {count} networks", o.clips, start)
            sizes = {(folder / name / "frame.h5").stat().st_size for name in ("local", f"ray{count}")}
            print(f"  stores of the same size: {len(sizes) == 1}")
    finally:
        shutil.rmtree(folder)


def _report(name, clips, start):
    seconds = time.perf_counter() - start
    print(f"{name:16} {clips / seconds:8.1f} clips/s  {seconds:8.1f} s", flush=True)


if __name__ == "__main__":
    main()
