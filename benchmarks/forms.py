# SPDX-License-Identifier: Apache-2.0
"""Forms of AV-Unified's backbone side by side: all tasks jointly on scenes, equal steps, several seeds.

Trains a run per form and seed under `--out`, those that are there already left alone, and prints mean and standard
deviation over seeds beside the best constant rule. Options not known here go to `avkit fit`.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from transfer import fit

from avkit.tasks import find_task, split_names

#: Options of each form.
FORMS: dict[str, list[str]] = {
    "default": [],
    "paper": ["--model.system.form", "paper"],
    "default, gate visible": ["--model.system.gate_projection", "true"],
}


def rows_of(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of a run's report by task and metric."""
    content = json.loads((run / "report.json").read_text())
    return {(row["task"], row["metric"]): row for row in content["rows"]}


def cell(values: list[float]) -> str:
    """Mean and standard deviation, in hundredths."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def table(runs: dict[str, list[Path]], tasks: list[str]) -> str:
    """Headline figures of each form, in Markdown; the best constant rule is the mean over runs.

    The same with another clip's sound follows each task's first figure: what does not fall was not heard.
    """
    reports = {form: [rows_of(run) for run in folders] for form, folders in runs.items()}
    lines = ["| | best constant rule | " + " | ".join(reports) + " |", f"|---|{'--:|' * (len(reports) + 1)}"]
    for task in tasks:
        for number, metric in enumerate(find_task(task).headline):
            key = (task, metric)
            baselines = [rows[key]["baseline"] for group in reports.values() for rows in group]
            cells = [f"{100 * statistics.fmean(baselines):.1f}"]
            cells += [cell([rows[key]["value"] for rows in group]) for group in reports.values()]
            lines.append(f"| {task} {metric} | {' | '.join(cells)} |")
            if number == 0:
                cells = [cell([rows[key]["swapped"] for rows in group]) for group in reports.values()]
                lines.append(f"| ... with another clip's sound | | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--forms", default="default;paper", help=f"separated by ;, of {'; '.join(FORMS)}")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/forms"))
    args, extra = parser.parse_known_args()
    forms = args.forms.split(";")
    if unknown := [form for form in forms if form not in FORMS]:
        parser.error(f"no forms {', '.join(unknown)}; there are {'; '.join(FORMS)}")
    tasks = split_names(args.tasks)
    args.out.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[Path]] = {form: [] for form in forms}
    for seed in range(args.seeds):
        for form in forms:
            name = f"{form.replace(', ', '-').replace(' ', '-')}-{seed}"
            runs[form].append(fit(args.out, name, tasks, args.steps, seed, [*FORMS[form], *extra]))
    print(table(runs, tasks))


if __name__ == "__main__":
    main()
