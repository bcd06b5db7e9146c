# SPDX-License-Identifier: Apache-2.0
"""Damages files of all kinds that avkit reads, and counts what becomes of it.

Aim: 0 foreign exceptions, crashes and hangs, 2 GB of memory at most, and no other content where a checksum stands.
Every mutation is read in a process that is watched: it is ended after a time, and begun again after a crash. The same
seed gives the same mutations. Usage: python benchmarks/fuzz.py [--mutations 20000] [--seed 0] [--only KIND]
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from fuzz_mutations import damage
from fuzz_targets import Target, make_targets

#: Seconds after which a mutation counts as hanging.
PATIENCE = 60
#: Bytes of memory that a process may take.
MEMORY = 2 * 2**30
#: A process is begun again after so many mutations, so that its peak of memory is that of a few.
FRESH_AFTER = 400


def serve(folder: Path, connection: object, only: str) -> None:
    """Read mutations in a process of their own: receives index of a target and seed, sends what became of it.

    Args:
        folder: Folder of the targets.
        connection: To the process that damages them.
        only: What kinds of targets that are read contain in their names.
    """
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    import torch

    torch.set_num_threads(1)
    targets = make_targets(folder)
    for target in targets:
        if only in target.kind:
            target.read()  # what is imported and cached counts once
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    while True:
        index, seed = connection.recv()
        connection.send((*try_one(targets[index], seed), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def try_one(target: Target, seed: int) -> tuple[str, str]:
    """Read a file once with damage, and put it back: what became of it, and a detail."""
    from avkit.errors import AvkitError

    whole = target.path.read_bytes()
    expected = target.read() if target.is_sealed else ""
    changed = damage(whole, seed, target.path.name)
    try:
        target.path.write_bytes(changed)
        read = target.read()
    except AvkitError as error:
        text = str(error)
        if "\n" in text:
            return "not one line", text[:200]
        return "refused", text[:200]
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/avkit/" in frame.filename][-1:]
        lines = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*ours, place]]
        return "traceback", f"{type(error).__name__}: {str(error)[:100]} at {' '.join(lines)}"
    finally:
        target.path.write_bytes(whole)
    if target.is_sealed and read != expected:
        return "changed", ""
    return "read", ""


class Watched:
    """A process that reads mutations, begun again when it is gone."""

    def __init__(self, folder: Path, only: str = "") -> None:
        self.folder = folder
        self.only = only
        self.process: multiprocessing.Process | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a process, in place of the one there is."""
        self.end()
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(self.folder, other, self.only), daemon=True)
        self.process.start()
        other.close()
        self.base = self.connection.recv()
        self.count = 0

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()

    def run(self, index: int, seed: int, target: Target, whole: bytes) -> tuple[str, str, int]:
        """What becomes of a mutation, a detail, and the peak of memory in bytes."""
        if self.count >= FRESH_AFTER:
            self.begin()
        self.count += 1
        try:
            self.connection.send((index, seed))
            if not self.connection.poll(PATIENCE):
                outcome = ("hang", f"longer than {PATIENCE} s", 0)
            else:
                return self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            outcome = ("crash", f"exit code {self.process.exitcode}", 0)
        target.path.write_bytes(whole)
        self.begin()
        return outcome


def print_table(counts: dict[str, Counter], peaks: dict[str, int]) -> None:
    columns = ("read", "refused", "not one line", "traceback", "crash", "hang", "changed")
    print(f"{'kind':38} {'mutations':>9} " + " ".join(f"{column:>12}" for column in columns) + "  peak MB")
    total: Counter = Counter()
    for kind, count in counts.items():
        total += count
        numbers = " ".join(f"{count[column]:>12}" for column in columns)
        print(f"{kind:38} {count.total():>9} {numbers} {peaks[kind] // 2**20:>8}")
    numbers = " ".join(f"{total[column]:>12}" for column in columns)
    print(f"{'all':38} {total.total():>9} {numbers} {max(peaks.values(), default=0) // 2**20:>8}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    parser.add_argument("--folder", type=Path, help="where the whole files are made, to use them again")
    parser.add_argument("--every", type=int, default=2000, help="print the table after so many mutations")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        folder.mkdir(parents=True, exist_ok=True)
        targets = make_targets(folder)
        chosen = [k for k, target in enumerate(targets) if options.only in target.kind]
        total_weight = sum(targets[k].weight for k in chosen)
        whole = {k: targets[k].path.read_bytes() for k in chosen}
        counts: dict[str, Counter] = {targets[k].kind: Counter() for k in chosen}
        peaks = dict.fromkeys(counts, 0)
        watched = Watched(folder, options.only)
        start = time.time()
        done = 0
        due = dict.fromkeys(chosen, 0.0)
        while done < options.mutations:
            for k in chosen:
                target = targets[k]
                due[k] += len(chosen) * target.weight / total_weight
                while due[k] >= 1 and done < options.mutations:
                    due[k] -= 1
                    outcome, detail, peak = watched.run(k, options.seed + done, target, whole[k])
                    if peak > MEMORY:
                        outcome, detail = "hang", f"{peak // 2**20} MB"
                        watched.begin()
                    counts[target.kind][outcome] += 1
                    peaks[target.kind] = max(peaks[target.kind], peak)
                    if outcome not in ("read", "refused"):
                        place = target.path.relative_to(folder)
                        print(f"{outcome}: {place}, seed {options.seed + done}: {detail}", flush=True)
                    done += 1
                    if done % options.every == 0:
                        print(f"{done} mutations, {time.time() - start:.0f} s", flush=True)
                        print_table(counts, peaks)
        watched.end()
        print_table(counts, peaks)
    bad = sum(count[column] for count in counts.values() for column in ("traceback", "crash", "hang", "changed"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
