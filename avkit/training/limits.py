# SPDX-License-Identifier: Apache-2.0
"""Lightning's limits of batches, counted for each task by itself."""

from dataclasses import dataclass

#: A number of batches, or a share of them; None for all.
Limit = int | float | None


@dataclass(frozen=True)
class BatchLimits:
    """How many batches are used.

    Attributes:
        train: Of an epoch.
        val: Of each task's validation split.
        test: Of each task's test split.
        overfit: Of an epoch, the same in every epoch, and of each task's validation split; 0 for none.
    """

    train: Limit = None
    val: Limit = None
    test: Limit = None
    overfit: int | float = 0.0

    def steps(self, steps: int) -> int:
        """Training steps per epoch.

        Raises:
            ValueError: If none are left.
        """
        option = "trainer.overfit_batches" if self.overfit else "trainer.limit_train_batches"
        left = limited(self.overfit or self.train, steps, option)
        if not left or self.train == 0:
            raise ValueError("trainer.limit_train_batches is 0; --trainer.max_epochs 0 tests the untrained model.")
        return left

    def evaluated(self, split: str, count: int) -> int:
        """Batches of a task's split.

        Args:
            split: `val` or `test`.
            count: Batches that there are.
        """
        if split == "test":
            return limited(self.test, count, "trainer.limit_test_batches")
        return limited(self.overfit or self.val, count, "trainer.limit_val_batches")


def limited(limit: Limit, count: int, option: str) -> int:
    """The number of batches that a limit leaves of `count`, as Lightning counts: a number, or a share.

    Raises:
        ValueError: If it is no such limit, or a share leaves none.
    """
    if limit is None:
        return count
    if limit < 0 or (isinstance(limit, float) and limit > 1):
        raise ValueError(f"{option} is {limit}; it is a number of batches, or a share from 0.0 to 1.0.")
    if isinstance(limit, int):
        return min(limit, count)
    number = int(count * limit)
    if limit and not number:
        raise ValueError(f"{option} is {limit}, which leaves none of {count} batches. Give at least {1 / count:.2g}.")
    return number
