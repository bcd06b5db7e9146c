# SPDX-License-Identifier: Apache-2.0
"""PSTP-Net: as published, and with what it selects."""

import pytest
import torch

from avkit.systems.pstp.network import PSTP
from avkit.systems.pstp.selection import RegionSelection, SegmentSelection

SMALL = {"audio": 6, "visual": 8, "text": 12, "answers": 5, "width": 16, "inner": 16, "dropout": 0.0}


def inputs():
    torch.manual_seed(0)
    return torch.randn(2, 6, 6), torch.randn(2, 6, 8), torch.randn(3, 4, 12), torch.randn(3, 12)


def test_selection_runs_only_in_paper():
    regions, clip = torch.randn(2, 6, 9, 8), torch.tensor([0, 1, 1])
    network = PSTP.build(**SMALL, fusion="paper", segments=3, topk=2, topm=4)
    output = network(*inputs(), regions, clip=clip)
    assert output.chosen.shape == (3, 4)
    assert bool((output.chosen[:, 1::2] == output.chosen[:, 0::2] + 1).all())
    assert output.sequence.shape[1] == 2 * 6 + 4 + (4 + 4 + 4 * 4 + 4 + 6 + 6)
    plain = PSTP.build(**SMALL)
    plain.load_state_dict(network.state_dict())
    assert plain(*inputs(), clip=clip).weights is None
    with pytest.raises(ValueError, match="only vectors of pictures are given"):
        network(*inputs(), clip=clip)


@pytest.mark.parametrize("fusion", ["published", "paper"])
def test_what_never_trains_is_declared(fusion):
    network = PSTP.build(**SMALL, fusion=fusion, segments=3, topk=2, topm=4)
    network(*inputs(), torch.randn(2, 6, 9, 8), clip=torch.tensor([0, 1, 1])).logits.sum().backward()
    untrained = {name.split(".")[0] + "." for name, p in network.named_parameters() if p.grad is None}
    assert untrained == set(network.untrained())


def test_what_cannot_be_selected_is_refused():
    with pytest.raises(ValueError, match="7 seconds do not make 3 equal segments"):
        SegmentSelection(8, 3, 1)(torch.randn(1, 8), torch.randn(1, 7, 8), torch.randn(1, 7, 8))
    with pytest.raises(ValueError, match="5 regions are to be chosen, and a picture has 4"):
        RegionSelection(8, 5)(torch.randn(1, 8), torch.randn(1, 2, 4, 8))
    with pytest.raises(ValueError, match="Unknown fusion 'papers'"):
        PSTP.build(fusion="papers")
