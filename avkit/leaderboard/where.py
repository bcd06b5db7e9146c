# SPDX-License-Identifier: Apache-2.0
"""Where the official files of datasets come from, for those who have not installed what reads them."""

from functools import cache
from pathlib import Path

from avkit.reading.text import read_text, table_rows

#: A line per dataset: its name and its source, as its class says it.
_TABLE = Path(__file__).parent / "data" / "datasets.csv"


@cache
def dataset_sources() -> dict[str, str]:
    """The source of each official dataset by name."""
    _, *rows = table_rows(read_text(_TABLE), str(_TABLE))
    return dict(cells for _, cells in rows)
