# SPDX-License-Identifier: Apache-2.0
"""Text search in indexed captions: weights of stems by word, a dense matrix, and bm25s (pip install bm25s).

Each way runs in a process of its own, so that its peak of memory is its own. Usage: python benchmarks/search.py
[--steps 100000] [--words 5000] [--ways postings dense bm25s]

With --folder an index of so many steps is written, of videos of 100 steps with masks of 64 x 64 and vectors of 256
numbers, and a text is searched in it, from the files to the hits: with all files read whole, and with captions alone.

With --usearch 10000 100000 vectors are searched by a clip of ten steps, exactly and by usearch's approximate index.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

QUERY = "a dog barks w7 w123 on the left"
REPEATS = 20


def make_captions(steps: int, words: int) -> list[str]:
    """Sentences of 8 to 14 words, of which few are common and most rare; four steps of a video share one."""
    draw = np.random.default_rng(0)
    names = ["a", "dog", "barks", "on", "the", "left", *(f"w{k}" for k in range(words - 6))]
    shares = 1 / np.arange(1, words + 1)
    shares /= shares.sum()
    captions = []
    while len(captions) < steps:
        chosen = draw.choice(words, draw.integers(8, 15), p=shares)
        captions += [" ".join(names[k] for k in chosen)] * 4
    return captions[:steps]


def postings(captions: list[str], folder: Path):
    """What avkit does: index, store, read again, and search."""
    from avkit.inference.caption_index import index_captions, read_captions, stems_of, write_captions

    write_captions(folder / "captions.safetensors", index_captions(captions), captions)
    start = time.perf_counter()
    index = read_captions(folder / "captions.safetensors", captions)
    print(f"read again: {time.perf_counter() - start:.2f} s", file=sys.stderr)
    return lambda text: index.scores(stems_of(text))


def dense(captions: list[str], folder: Path):
    """What avkit did: a matrix of rows and stems, made at the first query."""
    import torch
    import torch.nn.functional as F

    from avkit.inference.caption_index import stems_of

    counts = Counter()
    for caption in captions:
        counts.update(set(stems_of(caption)))
    columns = {stem: column for column, stem in enumerate(counts)}
    weights = {stem: math.log((len(captions) + 1) / (count + 0.5)) for stem, count in counts.items()}
    rows = torch.zeros(len(captions), len(columns))
    for row, caption in zip(rows, captions, strict=True):
        for stem, count in Counter(stems_of(caption)).items():
            row[columns[stem]] = count * weights[stem]
    rows = F.normalize(rows, dim=1).to_sparse()

    def search(text: str):
        query = torch.zeros(len(columns))
        unknown = 0.0
        for stem, count in Counter(stems_of(text)).items():
            weight = count * weights.get(stem, math.log((len(captions) + 1) / 0.5))
            if stem in columns:
                query[columns[stem]] = weight
            else:
                unknown += weight**2
        length = math.sqrt(float(query.square().sum()) + unknown)
        return ((rows @ query[:, None])[:, 0] / length).numpy()

    return search


def bm25s(captions: list[str], folder: Path):
    """BM25 of another library, with the same stems."""
    import bm25s as library

    from avkit.inference.caption_index import stems_of

    index = library.BM25()
    index.index([stems_of(caption) for caption in captions], show_progress=False)
    index.save(str(folder / "bm25s"))
    index = library.BM25.load(str(folder / "bm25s"))
    return lambda text: index.get_scores(stems_of(text))


def measure_vectors(rows: int, width: int) -> None:
    """Print how long an exact search by a clip of ten steps takes among so many rows."""
    import torch

    from avkit.inference.index import VECTOR_KINDS, IndexedVideo
    from avkit.inference.search import Index, search

    each = 1000
    start = time.perf_counter()
    vectors = torch.randn(rows, width, generator=torch.manual_seed(0))
    times = torch.arange(each).float()
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8).expand(each, 64, 64)
    videos = []
    for first in range(0, rows, each):
        parts = dict.fromkeys(VECTOR_KINDS, vectors[first : first + each])
        videos.append(IndexedVideo(f"{first}.mp4", times, times + 1, [""] * each, masks, parts))
    index = Index(videos)
    query = {"sound": vectors[5000:5010]}
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        search(index, examples=[query])
        taken.append(time.perf_counter() - start)
    print(f"| {rows:,} rows of {width} | first {taken[0]:.2f} s | then {min(taken[1:]):.3f} s |", flush=True)


def make_vectors(rows: int, width: int, each: int = 100):
    """Vectors (rows, width) of videos of 100 steps, whose steps are like each other, about their mean, of length 1.

    Also a clip of ten steps that are like one of the videos.
    """
    import torch

    from avkit.inference.search import centre

    draw = torch.manual_seed(0)
    videos = torch.randn(-(-rows // each), width, generator=draw)
    vectors = videos.repeat_interleave(each, 0)[:rows] + 0.7 * torch.randn(rows, width, generator=draw)
    centred = centre([vectors])
    query = videos[0] + 0.7 * torch.randn(10, width, generator=draw) - centred.mean
    return centred.rows, torch.nn.functional.normalize(query, dim=-1)


def best_steps(cosines: np.ndarray, count: int) -> set[int]:
    """The best rows of cosines (rows, M) by their best cosine."""
    return set(np.argsort(-cosines.max(1), kind="stable")[:count].tolist())


def near_steps(index, query: np.ndarray, count: int) -> set[int]:
    """The best rows of an index of usearch by their best cosine with a query (M, width)."""
    best: dict[int, float] = {}
    for matches in index.search(query, count, threads=1):
        for key, distance in zip(matches.keys.tolist(), matches.distances.tolist(), strict=True):
            best[key] = min(best.get(key, 2.0), distance)
    return set(sorted(best, key=best.__getitem__)[:count])


def seconds(work, repeats: int = 5) -> float:
    """Least processor time of several calls, for other work runs beside."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def measure_usearch(rows: int, width: int, count: int = 100) -> None:
    """Print what exact search and usearch (pip install usearch) take, and how many of the best rows both find."""
    from usearch.index import Index

    vectors, query = make_vectors(rows, width)
    exact = seconds(lambda: (vectors @ query.T).amax(1))
    wanted = best_steps((vectors @ query.T).numpy(), count)
    index = Index(ndim=width, metric="cos", dtype="f32")
    start = time.process_time()
    index.add(np.arange(rows), vectors.numpy(), threads=1)
    built = time.process_time() - start
    near = seconds(lambda: near_steps(index, query.numpy(), count))
    recall = len(wanted & near_steps(index, query.numpy(), count)) / count
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vectors.usearch")
        index.save(str(path))
        size = path.stat().st_size / 1e6
    milliseconds = f"{1000 * exact:.1f} ms | {1000 * near:.1f} ms"
    print(f"| {rows:,} | {milliseconds} | {built:.1f} s | {size:.0f} MB | {recall:.2f} |", flush=True)


def write_index(folder: Path, captions: list[str]) -> None:
    """Write an index whose captions are indexed, as `avkit index` does."""
    import torch

    from avkit.inference.index import VECTOR_KINDS, IndexedVideo, IndexFolder

    each = 100
    index = IndexFolder(folder)
    index.create({"run": "r", "weights": "w", "avkit": "0"})
    times = torch.arange(each).float()
    masks = (torch.arange(each * 64 * 64).reshape(each, 64, 64) % 7 == 0).to(torch.uint8)
    vectors = dict.fromkeys(VECTOR_KINDS, torch.randn(each, 256, generator=torch.manual_seed(0)))
    vectors = {kind: tensor.clone() for kind, tensor in vectors.items()}
    for first in range(0, len(captions), each):
        index.add(IndexedVideo(f"{first}.mp4", times, times + 1, captions[first : first + each], masks, vectors))
    index.caption_index(index.stored())


def megabytes(kind: str) -> float:
    """Memory of this process: `VmRSS` now, `VmHWM` at the peak; Linux alone tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def measure_folder(folder: Path, way: str) -> None:
    """Print time and memory of one search for words, from the files to the hits."""
    from avkit.inference.index import IndexFolder
    from avkit.inference.search import Index, search

    before = megabytes("VmRSS")
    start = time.perf_counter()
    index = IndexFolder(folder)
    stored = index.stored()
    hits = search(Index(index.read() if way == "whole" else stored, index.caption_index(stored)), QUERY)
    taken = time.perf_counter() - start
    memory = megabytes("VmHWM") - before
    print(f"| {way} | {taken:.2f} s | {memory:.0f} MB | {[hit.video for hit in hits]} |", flush=True)


def compare_folder(captions: list[str]) -> None:
    """Print a row for each way to read an index, each of a process of its own, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder), captions)
        for way in ("whole", "captions") * 2:
            subprocess.run([sys.executable, __file__, "--folder", folder, "--way", way], check=False)


WAYS = {"postings": postings, "dense": dense, "bm25s": bm25s}


def measure(way: str, steps: int, words: int) -> None:
    """Print times, memory and the best rows of one way."""
    captions = make_captions(steps, words)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        search = WAYS[way](captions, Path(folder))
        built = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        scores = search(QUERY)
        taken.append(time.perf_counter() - start)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    best = np.argsort(-scores, kind="stable")[:5].tolist()
    milliseconds = 1000 * float(np.median(taken))
    print(f"| {way} | {built:.2f} s | {milliseconds:.2f} ms | {memory:.0f} MB | {size / 1e6:.1f} MB | {best} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=5000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--vectors", type=int, nargs="*", default=[], help="numbers of rows to search by a clip")
    parser.add_argument(
        "--usearch", type=int, nargs="*", default=[], help="numbers of rows for exact search and usearch"
    )
    parser.add_argument("--folder", nargs="?", const="", help="search in an index on disk")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.steps, options.words)
        return
    if options.folder:
        measure_folder(Path(options.folder), options.way)
        return
    if options.folder is not None:
        compare_folder(make_captions(options.steps, options.words))
        return
    for rows in options.vectors:
        measure_vectors(rows, 256)
    if options.usearch:
        print(
            "| rows | exact | usearch | to build | on disk | of the best 100 |\n|--:|--:|--:|--:|--:|--:|", flush=True
        )
    for rows in options.usearch:
        measure_usearch(rows, 256)
    if options.vectors or options.usearch:
        return
    print("| way | index | a query | memory | on disk | best rows |\n|---|---|---|---|---|---|", flush=True)
    for way in options.ways:
        words = ["--one", way, "--steps", str(options.steps), "--words", str(options.words)]
        subprocess.run([sys.executable, __file__, *words], check=False)


if __name__ == "__main__":
    main()
