# SPDX-License-Identifier: Apache-2.0
"""The cheapest one-to-one assignment of rows to columns, by shortest augmenting paths."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def assign(cost: Floats) -> Ints:
    """Column of each row such that no column is taken twice and the sum of costs is least.

    Args:
        cost: Finite costs (E, N), with E no more than N.

    Returns:
        int64 (E,).

    Raises:
        ValueError: If there are more rows than columns, or a cost is not finite.

    Source:
        Jonker and Volgenant, Computing 38, 1987: rows are added one by one, each by a shortest path of reduced costs.
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"{rows} rows cannot be given {columns} columns one to one; give at least as many columns.")
    if not np.isfinite(cost).all():
        raise ValueError("A cost of the assignment is not finite.")
    row_price = np.zeros(rows)
    column_price = np.zeros(columns)
    owner = np.full(columns, -1)
    for row in range(rows):
        _add_row(row, cost, row_price, column_price, owner)
    result = np.empty(rows, np.int64)
    taken = np.flatnonzero(owner >= 0)
    result[owner[taken]] = taken
    return result


def _add_row(row: int, cost: Floats, row_price: Floats, column_price: Floats, owner: Ints) -> None:
    """Give a row a column, and the rows whose columns it takes another; prices are kept right."""
    columns = len(owner)
    shortest = np.full(columns, np.inf)
    previous = np.full(columns, -1)  # column on the path before each; -1 for the new row
    done = np.zeros(columns, bool)
    current = row
    column = -1
    length = 0.0
    while True:
        reduced = length + cost[current] - row_price[current] - column_price
        better = ~done & (reduced < shortest)
        shortest[better] = reduced[better]
        previous[better] = column
        column = int(np.where(done, np.inf, shortest).argmin())
        length = float(shortest[column])
        done[column] = True
        if owner[column] < 0:
            break
        current = int(owner[column])
    row_price[row] += length
    passed = np.flatnonzero(done & (owner >= 0))
    row_price[owner[passed]] += length - shortest[passed]
    column_price[passed] -= length - shortest[passed]
    while column >= 0:
        before = int(previous[column])
        owner[column] = row if before < 0 else owner[before]
        column = before
