# SPDX-License-Identifier: Apache-2.0
"""Lightning's handling of signals, less what it does about SIGTERM."""

from types import FrameType

from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector


class SignalConnector(_SignalConnector):
    """Leaves SIGTERM to `StopSignals`, whose handler Lightning calls after its own.

    Lightning's own handler lets processes talk to each other wherever it interrupts them, so that several of them wait
    for ever, and ends a training without saving.
    """

    def _sigterm_notifier_fn(self, signum: int, frame: FrameType | None) -> None:
        """Do nothing."""
