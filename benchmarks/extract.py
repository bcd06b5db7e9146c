# SPDX-License-Identifier: Apache-2.0
"""How near extraction comes to its limit: clips per second of decoding alone, and of decoding, network and store.

Usage: python benchmarks/extract.py [--clips 48] [--workers 2] [--device cuda --encoder vit_base]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import torch

from avkit.extraction.decoding import SourceDataset
from avkit.extraction.extract import extract_clips
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.prefetch import iter_decoded
from avkit.extraction.progress import ExtractionProgress
from avkit.extraction.recipe import FeatureStream
from avkit.extraction.sources import sources_in
from avkit.media.decode import write_video
from avkit.media.write import write_wave
from avkit.scenes import render_frames, render_sound, sample_scene


def make_videos(folder, count, side, fps):
    """Scenes of ten seconds as MP4."""
    for k in range(count):
        scene = sample_scene(k)
        write_wave(folder / "sound.wav", render_sound(scene))
        frames = render_frames(scene, side, 1 / fps).transpose(0, 2, 3, 1)
        write_video(folder / f"{k:04d}.mp4", frames, fps, folder / "sound.wav", quick=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clips", type=int, default=48)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--side", type=int, default=320, help="height and width of the videos")
    p.add_argument("--fps", type=int, default=25)
    p.add_argument("--device", default="cpu")
    p.add_argument("--encoder", default="small", help="such as vit_base, with random weights")
    p.add_argument("--repeats", type=int, default=3)
    o = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="extract-"))
    try:
        make_videos(folder, o.clips, o.side, o.fps)
        sources = sources_in(folder)
        side = 64 if o.encoder == "small" else 224
        stream = FeatureStream("frames", "pictures", o.encoder, None, resize=side, crop=side)
        extractor = FeatureExtractor([stream], torch.device(o.device), 64)
        torch.set_num_threads(1 if o.device == "cpu" else torch.get_num_threads())
        best = {"decoding alone": 0.0, "extraction": 0.0}
        for k in range(o.repeats):
            start = time.perf_counter()
            for clip in iter_decoded(SourceDataset(sources, [stream], extractor.input_forms()), o.workers):
                assert not clip.error, clip.error
            best["decoding alone"] = max(best["decoding alone"], o.clips / (time.perf_counter() - start))
            start = time.perf_counter()
            extract_clips(sources, extractor, ExtractionProgress(folder / f"parts{k}", ["frames"]), o.workers)
            best["extraction"] = max(best["extraction"], o.clips / (time.perf_counter() - start))
        where = torch.cuda.get_device_name() if o.device.startswith("cuda") else "CPU"
        print(f"{o.clips} clips of 10 s, {o.side} pixels, {o.fps} fps; {o.workers} workers; {o.encoder} on {where}")
        for name, rate in best.items():
            print(f"{name:16} {rate:6.1f} clips/s")
        print(f"{'share':16} {100 * best['extraction'] / best['decoding alone']:6.1f} %")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
