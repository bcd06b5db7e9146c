# SPDX-License-Identifier: Apache-2.0
"""What an extraction of many clips costs beside decoding and networks: checks before it, listing, packing.

Clips are hard links to a few files, and finished features are small files as an extraction writes them.
Usage: python benchmarks/listing.py [--clips 200000] [--streams 3] [--packed 10000]
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from avkit.extraction.origins import check_origins
from avkit.extraction.progress import ExtractionProgress, stored_clips
from avkit.extraction.sources import MediaSource
from avkit.features.base import FeatureFacts

#: Bytes of a file that stands for a video.
_VIDEO = 2**17
#: Files that the clips share; a file system bounds the links of each.
_FILES = 16


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clips", type=int, default=200_000)
    p.add_argument("--streams", type=int, default=3)
    p.add_argument("--packed", type=int, help="clips that are packed, all by default: packing takes as long for each")
    p.add_argument("--form", choices=("hdf5", "shards"), default="hdf5")
    p.add_argument("--folder", type=Path, help="where files are made for the time; the system's by default")
    o = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="listing-", dir=o.folder))
    try:
        _measure(folder, o)
    finally:
        shutil.rmtree(folder)


def _measure(folder, o):
    names = [f"clip{k:06d}" for k in range(o.clips)]
    streams = [f"stream{k}" for k in range(o.streams)]
    sources = _make_media(folder / "media", names)
    out = folder / "out"
    out.mkdir()
    _timed("check_origins, first time", o.clips, lambda: check_origins(out, sources, ()))
    _timed("check_origins, again", o.clips, lambda: check_origins(out, sources, ()))
    progress = ExtractionProgress(out / ".bench-parts", streams, "local")
    _make_features(progress, names)
    done = _timed("done", o.clips, progress.done)
    assert len(done) == o.clips
    packed = min(o.packed or o.clips, o.clips)
    if packed < o.clips:
        shutil.rmtree(progress.folder)
        _make_features(progress, names[:packed])
    facts = {stream: FeatureFacts(stream, 1.0) for stream in streams}
    dtypes = dict.fromkeys(streams, "float16")
    stores = _timed(f"pack of {packed} clips", packed, lambda: progress.pack(out, facts, dtypes, o.form))
    assert len(stores) == o.streams
    stored = _timed("stored_clips", packed, lambda: stored_clips(out, streams))
    assert len(stored) == packed
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def _make_media(folder, names):
    """Sources whose files are hard links."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for k in range(_FILES):
        (folder / f"{k}.bin").write_bytes(draw.bytes(_VIDEO))
    for k, name in enumerate(names):
        os.link(folder / f"{k % _FILES}.bin", folder / f"{name}.mp4")
    return [MediaSource(name, folder, f"{name}.mp4") for name in names]


def _make_features(progress, names):
    """Files of one clip as an extraction writes them, and copies for the others."""
    values = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float16)
    for stream in progress.streams:
        progress.save(stream, names[0], values)
        place = progress.folder / progress.shard / stream
        content = (place / f"{names[0]}.npy").read_bytes()
        for name in names[1:]:
            (place / f"{name}.npy").write_bytes(content)


def _timed(what, clips, work):
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    print(f"{what:26} {seconds:8.2f} s  {1e6 * seconds / clips:8.1f} us/clip", flush=True)
    return result


if __name__ == "__main__":
    main()
