# SPDX-License-Identifier: Apache-2.0
"""Where the official files of datasets come from, for those who have not installed what reads them."""

import csv
from functools import cache
from pathlib import Path

#: A line per dataset: its name and its source, as its class says it.
_TABLE = Path(__file__).parent / "data" / "datasets.csv"


@cache
def dataset_sources() -> dict[str, str]:
    """The source of each official dataset by name."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["source"] for row in csv.DictReader(file)}
