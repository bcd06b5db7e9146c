# SPDX-License-Identifier: Apache-2.0
"""CCNet's neck and decoder as a head on the shared backbone."""

import pytest
import torch

from avkit.batch import Batch, Tokens, Vocabulary
from avkit.heads.base import HeadInputs
from avkit.systems.ccnet.head import CCNetHead, CCNetHeadOptions
from avkit.systems.ccnet.network import CCNet

WIDTH = 16
INPUTS = HeadInputs(WIDTH, Vocabulary(classes=["a", "b", "c"]))


def make_head(**options):
    """A head whose residual branches and norms are far from their initial values, which hide padding."""
    torch.manual_seed(0)
    head = CCNetHead(INPUTS, CCNetHeadOptions(**options))
    for name, parameter in head.named_parameters():
        if name.endswith("_path.scale"):
            torch.nn.init.ones_(parameter)
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return head


def make_tokens(lengths, steps):
    """Tokens of clips of these lengths, with values other than 0 on padding."""
    torch.manual_seed(1)
    valid = torch.arange(steps) < torch.tensor(lengths)[:, None]
    audio, frame = torch.full((2, len(lengths), steps, WIDTH), 7.0)
    for row, length in enumerate(lengths):
        audio[row, :length], frame[row, :length] = torch.randn(2, length, WIDTH)
    return Tokens(audio=audio, frame=frame, patches=frame[:, :, None], grid=(1, 1), valid=valid)


def make_batch(tokens, events=None):
    duration = tokens.valid.sum(1).float()
    names = [str(row) for row in range(len(duration))]
    return Batch("davel", names, duration, 1.0, tokens.valid, targets={} if events is None else {"events": events})


@pytest.mark.parametrize(("length", "steps"), [(1, 5), (10, 32), (10, 60), (30, 60), (44, 60), (47, 64), (58, 90)])
def test_padding_changes_nothing(length, steps):
    head = make_head().eval()
    with torch.no_grad():
        alone = head(make_tokens([length], length), None)
        padded = head(make_tokens([length, steps], steps), None)
    for one, two in zip(alone, padded, strict=True):
        keep = two.valid[0]
        assert int(one.valid.sum()) == int(keep.sum()) == -(-length // one.stride)
        torch.testing.assert_close(two.logits[0, keep], one.logits[one.valid], atol=1e-5, rtol=0)
        torch.testing.assert_close(two.offsets[0, keep], one.offsets[one.valid], atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [16, 60])
def test_loss_is_finite_and_reaches_every_parameter(steps):
    head = make_head().train()
    tokens = make_tokens([steps, steps // 2], steps)
    events = [torch.tensor([[1.0, 4.0, 0.0], [2.0, 14.0, 1.0], [0.5, 15.5, 2.0]]), torch.tensor([[0.6, 5.0, 2.0]])]
    batch = make_batch(tokens, events)
    losses = head.loss(head(tokens, batch), batch)
    assert losses["loss"].isfinite()
    losses["loss"].backward()
    missing = [name for name, parameter in head.named_parameters() if parameter.grad is None]
    assert missing == []
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize("steps", [1, 60])
def test_predict_reads_no_targets(steps):
    head = make_head().eval()
    tokens = make_tokens([steps], steps)
    batch = make_batch(tokens)
    with torch.no_grad():
        [events] = head.predict(head(tokens, batch), batch)["event_list"]
    assert (events[:, 1] <= steps).all()
    assert (events[:, 0] < events[:, 1]).all()


def test_neck_and_decoder_have_the_shapes_of_ccnet():
    sizes = {"length": 32, "levels": 4, "inner": 4, "channels": 8, "depth": 3}
    head = CCNetHead(INPUTS, CCNetHeadOptions(width=16, **sizes))
    network = CCNet.build(visual=6, audio=5, classes=3, width=8, heads=2, **sizes)
    for ours, theirs in ((head.neck, network.neck), (head.decoder, network.decoder)):
        shapes = {key: x.shape for key, x in ours.state_dict().items()}
        assert shapes == {key: x.shape for key, x in theirs.state_dict().items()}
