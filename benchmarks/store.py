# SPDX-License-Identifier: Apache-2.0
"""Reading features in random order: one store against one .npy per clip, from a cold page cache and from a warm one.

Cold means that the pages of every file were dropped before (`posix_fadvise`); entries of folders stay in memory, which
favours the many small files.
"""

import argparse
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from avkit.features.base import FeatureFacts
from avkit.features.shards import ShardedStore, write_shards
from avkit.features.store import Store, write_store

#: Name, clips, and shape of one clip.
CASES = [
    ("VGGish, LLP", 10_000, (10, 128)),
    ("CLIP frames, MUSIC-AVQA", 4000, (60, 768)),
    ("CLIP patches, AVE", 400, (10, 257, 768)),
]
REPEATS = 3


def drop(paths):
    """Put the pages of files out of memory."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def load(folder, name):
    return np.load(folder / f"{name}.npy")


def seconds(read, names):
    start = time.perf_counter()
    total = sum(float(read(name)[0].flat[0]) for name in names)
    return time.perf_counter() - start, total


def compare_forms(folder, fraction):
    """Open, read and write of a store of HDF5 and of one of shards, in turn."""
    print(
        "| features | clips | kB | write HDF5 | shards | open HDF5 | shards | cold HDF5 | shards | warm HDF5 | shards |"
    )
    print("|---|" + "--:|" * 10, flush=True)
    for title, whole, shape in CASES:
        count = max(1, round(whole * fraction))
        draw = np.random.default_rng(0)
        clips = [(f"clip_{k:06d}", draw.normal(size=shape).astype(np.float16)) for k in range(count)]
        order = [clips[k][0] for k in draw.permutation(count)]
        times = {}
        for _ in range(REPEATS):
            for form, write, kind in (("HDF5", write_store, Store), ("shards", write_shards, ShardedStore)):
                path = folder / (f"{form}.h5" if form == "HDF5" else form)
                start = time.perf_counter()
                write(path, clips, FeatureFacts())
                taken = {"write": time.perf_counter() - start}
                drop([path] if path.is_file() else list(path.iterdir()))
                start = time.perf_counter()
                store = kind(path)
                len(store)
                taken["open"] = time.perf_counter() - start
                taken["cold"] = seconds(store.read, order)[0] / count
                taken["warm"] = seconds(store.read, order)[0] / count
                for what, value in taken.items():
                    times.setdefault((what, form), []).append(value)
        cells = [title, f"{count:,}", f"{clips[0][1].nbytes / 1e3:.0f}"]
        for what, unit, scale in (("write", "s", 1), ("open", "ms", 1e3), ("cold", "us", 1e6), ("warm", "us", 1e6)):
            cells += [f"{min(times[what, form]) * scale:.3g} {unit}" for form in ("HDF5", "shards")]
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="a folder on the disk to measure")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the clips")
    parser.add_argument("--forms", action="store_true", help="compare the two forms of a store with each other")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.folder, prefix="store-"))
    if args.forms:
        try:
            compare_forms(folder, args.fraction)
        finally:
            shutil.rmtree(folder)
        return
    print("features                    clips  kB/clip |  cold npy    store  times |  warm npy    store  times")
    try:
        for title, whole, shape in CASES:
            count = max(1, round(whole * args.fraction))
            draw = np.random.default_rng(0)
            clips = [(f"clip_{k:06d}", draw.normal(size=shape).astype(np.float16)) for k in range(count)]
            npy = folder / "npy"
            npy.mkdir()
            for name, x in clips:
                np.save(npy / f"{name}.npy", x)
            path = write_store(folder / "store.h5", clips, FeatureFacts())
            order = [clips[k][0] for k in draw.permutation(count)]
            paths = [npy / f"{name}.npy" for name in order]
            times = {}
            for state in ("cold", "warm"):
                for kind in ("npy", "store"):
                    taken = []
                    for _ in range(REPEATS):
                        if state == "cold":
                            drop(paths if kind == "npy" else [path])
                        store = Store(path)
                        taken.append(seconds(store.read if kind == "store" else partial(load, npy), order)[0])
                    times[state, kind] = min(taken) / count * 1e6
            cells = [
                f"{times[s, 'npy']:6.0f} us {times[s, 'store']:5.0f} us {times[s, 'npy'] / times[s, 'store']:6.1f}"
                for s in ("cold", "warm")
            ]
            print(f"{title:26} {count:6} {np.prod(shape) * 2 / 1000:8.1f} | {cells[0]} | {cells[1]}")
            shutil.rmtree(npy)
            path.unlink()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
