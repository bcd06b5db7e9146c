# SPDX-License-Identifier: Apache-2.0
"""The main job: `avkit fit` on scenes, or on the real clips, beside what it aims at. One line of JSON per figure.

Without options it runs the default fit, which takes minutes; `--real DATA` overfits benchmarks/real/manifest.jsonl, on
the real clips under DATA, instead; `--report runs/NAME` reads a run that is there.

    python benchmarks/fit.py --real ../shared/data/real
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HEADLINES = (("avs", "mIoU"), ("ra_ssu", "mIoU"), ("ra_ssu", "BLEU-4"), ("avqa", "Overall"))
LISTENING = (("avs", "mIoU"), ("avqa", "Audio Avg"))


def fit(real: Path | None, extra: list[str]) -> tuple[Path, dict[str, float]]:
    """Run it; the run's folder, minutes and gigabytes."""
    command = [sys.executable, "-m", "avkit", "fit", "--tasks", "ra_ssu,avs,avqa", *extra]
    if real is not None:
        command += ["--data.manifest", str(HERE / "real/manifest.jsonl"), "--data.root", str(real)]
        command += ["--trainer.max_epochs", "5"]
    start = time.perf_counter()
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    minutes = (time.perf_counter() - start) / 60
    report = next(line for line in reversed(said.splitlines()) if line.startswith("report: "))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return Path(report.removeprefix("report: ")).parent, {"minutes": minutes, "largest process, GB": memory}


def figures(run: Path, real: bool) -> Iterator[dict[str, Any]]:
    """What the report of a run says about the aims."""
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    rows = {(row["task"], row["metric"]): row for row in report["rows"]}
    for key in HEADLINES:
        row = rows[key]
        found = {"figure": " ".join(key), "value": row["value"], "baseline": row["baseline"]}
        aim = {"aim": 0.9} if real else {"error_removed": row["error_removed"], "aim": 0.5}
        yield {**found, **aim}
    for key in () if real else LISTENING:
        row = rows[key]
        yield {"figure": f"{' '.join(key)}, lost in silence", "value": 1 - row["silence"] / row["value"], "aim": 0.25}
    yield {"figure": "speed", **report["facts"]["speed"]}


def main() -> None:
    """Fit, or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--report", type=Path)
    args, extra = parser.parse_known_args()
    if args.real is not None and not args.real.is_dir():
        sys.exit(f"skipped: {args.real} has no real clips")
    run, cost = (args.report, {}) if args.report else fit(args.real, extra)
    for name, value in cost.items():
        print(json.dumps({"figure": name, "value": round(value, 2), "aim": {"minutes": 8}.get(name, 4)}))
    for row in figures(run, args.real is not None):
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
