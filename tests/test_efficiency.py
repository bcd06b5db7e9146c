# SPDX-License-Identifier: Apache-2.0
"""What an answer costs: counted against arithmetic, and shown in every form of the report."""

import json
from dataclasses import replace

import pytest
import torch

from avkit.batch import Batch
from avkit.report import RunReport, write_report
from avkit.report.efficiency import Efficiency, measure


class TwoProducts(torch.nn.Module):
    """Costs 2 * 3 * 4 * 5 operations a step, in two matrix products."""

    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(4, 5, bias=False), torch.nn.Linear(5, 4, bias=False)

    def forward(self, batch):
        return self.two(self.one(batch.visual[:, :, 0, :3].new_ones(batch.valid.shape[1] * 3, 4)))


def test_efficiency_counts_what_is_done():
    valid = torch.ones(1, 7, dtype=torch.bool)
    batch = Batch("avs", ["a"], torch.tensor([7.0]), 1.0, valid, visual=torch.zeros(1, 7, 2, 4))
    cost = measure(TwoProducts(), batch, "here")
    assert cost.flops == 2 * 2 * 3 * 4 * 5 * 7
    assert cost.params == 40
    assert cost.steps == 7
    assert cost.fps == pytest.approx(7 / cost.seconds)
    cells = Efficiency("avs", 319_620_000, 1_596_000_000_000, 0.117, 10, "here").cells()
    assert [cells[k] for k in ("Params", "FLOPs", "FPS", "Time per sample")] == [
        "319.62 M",
        "1.60 T",
        "85.47",
        "0.117 s",
    ]
    with pytest.raises(ValueError, match="2 clips"):
        measure(TwoProducts(), replace(batch, valid=torch.ones(2, 7, dtype=torch.bool)), "here")


def test_efficiency_is_in_every_form_of_the_report(tmp_path):
    row = Efficiency("ra|ssu", 1_000_000, 2_000_000_000, 0.5, 10, "<CPU>")
    page = write_report(tmp_path, RunReport("run", efficiency=[row])).read_text()
    assert "1.00 M" in page
    assert "&lt;CPU&gt;" in page
    assert "multiply-add" in page
    assert "| ra\\|ssu | 1.00 M | 20.00 | 2.00 G | 0.500 s |" in (tmp_path / "report.md").read_text()
    kept = json.loads((tmp_path / "report.json").read_text())["efficiency"][0]
    assert kept["flops"] == 2_000_000_000
    assert kept["fps"] == 20
