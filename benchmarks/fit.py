# SPDX-License-Identifier: Apache-2.0
"""The main job: `avkit fit` on scenes, or on the real clips, beside what it aims at. One line of JSON per figure.

Without options it fits ra_ssu, avs and avqa, which takes minutes; `--tasks all` fits all seven, which takes twenty;
`--real DATA` overfits benchmarks/real/manifest.jsonl, on the real clips under DATA, instead; `--report runs/NAME` reads
a run that is there.

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
HEADLINES = (
    ("ave", "accuracy"),
    ("avvp", "segment/Type"),
    ("avvp", "segment/Event"),
    ("ssl", "cIoU@0.5"),
    ("avs", "mIoU"),
    ("ra_ssu", "mIoU"),
    ("ra_ssu", "BLEU-4"),
    ("avqa", "Overall"),
    ("davel", "Avg"),
)
#: What a task must lose without its sound, as a share; more than nothing where no figure is named.
LISTENING = {("avs", "mIoU"): 0.25, ("avqa", "Audio Avg"): 0.25}
MINUTES = {"ra_ssu,avs,avqa": 8, "all": 20}


def fit(tasks: str, real: Path | None, extra: list[str]) -> tuple[Path, dict[str, float]]:
    """Run it; the run's folder, minutes and gigabytes."""
    command = [sys.executable, "-m", "avkit", "fit", "--tasks", tasks, *extra]
    if real is not None:
        command += ["--data.manifest", str(HERE / "real/manifest.jsonl"), "--data.root", str(real)]
        command += ["--data.splits.allow_shared", "true"]  # to overfit is what is asked
        command += ["--trainer.max_epochs", "5"]
    start = time.perf_counter()
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    minutes = (time.perf_counter() - start) / 60
    report = next(line for line in reversed(printed.splitlines()) if line.startswith("report: "))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return Path(report.removeprefix("report: ")).parent, {"minutes": minutes, "largest process, GB": memory}


def figures(run: Path, real: bool) -> Iterator[dict[str, Any]]:
    """What the report of a run says about the aims."""
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    rows = {(row["task"], row["metric"]): row for row in report["rows"]}
    for key in (key for key in HEADLINES if key in rows):
        row = rows[key]
        figure = {"figure": " ".join(key), "value": row["value"], "baseline": row["baseline"]}
        aim = {"aim": 0.9} if real else {"error_removed": row["error_removed"], "aim": 0.5}
        yield {**figure, **aim}
    for key in () if real else dict.fromkeys((*HEADLINES, *LISTENING)):
        if key in rows:
            value, others = rows[key]["value"], {name: rows[key][name] for name in ("silence", "swapped")}
            lost = {f"lost, {name}": 1 - other / value for name, other in others.items() if other is not None and value}
            yield {"figure": " ".join(key), **lost, "aim": LISTENING.get(key, 0)}
    yield {"figure": "speed", **report["facts"]["speed"]}


def main() -> None:
    """Fit, or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="ra_ssu,avs,avqa")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--report", type=Path)
    args, extra = parser.parse_known_args()
    if args.real is not None and not args.real.is_dir():
        sys.exit(f"skipped: {args.real} has no real clips")
    run, cost = (args.report, {}) if args.report else fit(args.tasks, args.real, extra)
    for name, value in cost.items():
        aim = MINUTES.get(args.tasks) if name == "minutes" else 4
        print(json.dumps({"figure": name, "value": round(value, 2), "aim": aim}))
    for row in figures(run, args.real is not None):
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
