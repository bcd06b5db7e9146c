# SPDX-License-Identifier: Apache-2.0
import json
import re

import numpy as np
import pytest
import torch
from golden import golden_cases

from avkit.media.mel import cut_steps, log_mel, mel_matrix, per_second_mel, vggish_examples


def plain_log_mel(waveform):
    """The definition, one frame and one triangle at a time, in double precision."""

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(125), mel(7500), 66)
    weights = np.zeros((257, 64))
    for k in range(1, 257):
        for band in range(64):
            low, middle, high = edges[band : band + 3]
            x = mel(k * 8000 / 256)
            weights[k, band] = max(0, min((x - low) / (middle - low), (high - x) / (high - middle)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    starts = range(0, len(waveform) - 399, 160)
    magnitude = [np.abs(np.fft.rfft(waveform[s : s + 400] * window, 512)) for s in starts]
    return np.log(np.array(magnitude) @ weights + 0.01), weights


@pytest.fixture
def noise():
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 20_001)))


def test_equals_the_plain_definition(noise):
    expected, weights = plain_log_mel(noise[0].numpy())
    np.testing.assert_allclose(log_mel(noise)[0].numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(mel_matrix().numpy(), weights, atol=1e-13)


def test_single_precision_is_close(noise):
    mel = log_mel(noise.float())
    assert mel.dtype == torch.float32
    torch.testing.assert_close(mel, log_mel(noise).float(), atol=1e-4, rtol=0)


def test_silence_is_the_logarithm_of_the_offset():
    torch.testing.assert_close(log_mel(torch.zeros(400)), torch.full((1, 64), float(np.log(0.01))))


def test_tone_lights_its_band():
    band = log_mel(torch.sin(2 * torch.pi * 1_000 * torch.arange(16_000) / 16_000))[50].argmax()
    centres = 700 * (np.exp(np.linspace(*(1127 * np.log(1 + np.array([125, 7500]) / 700)), 66)[1:-1] / 1127) - 1)
    assert band == np.abs(centres - 1_000).argmin()


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_number_of_frames(samples, frames):
    assert log_mel(torch.zeros(3, samples)).shape == (3, frames, 64)


@pytest.mark.parametrize(("seconds", "examples"), [(0.9, 0), (0.975, 1), (4, 4), (5, 5), (10, 10), (60, 62)])
def test_number_of_examples(seconds, examples):
    assert vggish_examples(torch.zeros(round(seconds * 16_000))).shape == (examples, 96, 64)


def test_no_gradient(noise):
    assert not log_mel(noise.requires_grad_()).requires_grad


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"not torch\.int16; divide int16 by 32768"):
        log_mel(torch.zeros(400, dtype=torch.int16))


def test_each_step_is_framed_by_itself(noise):
    mel = per_second_mel(noise, steps=2, hop=0.5)
    assert mel.shape == (2, 2, 48, 64)
    for b in range(2):
        for t in range(2):
            torch.testing.assert_close(mel[b, t], log_mel(noise[b, t * 8_000 : (t + 1) * 8_000]))


def test_silence_beyond_the_end(noise):
    pieces = cut_steps(noise, steps=3)
    torch.testing.assert_close(pieces[:, 1, :4_001], noise[:, 16_000:])
    assert not pieces[:, 1, 4_001:].any()
    assert not pieces[:, 2].any()


def test_pieces_shorter_and_longer_than_a_step(noise):
    torch.testing.assert_close(cut_steps(noise, 1, samples=15_600)[:, 0], noise[:, :15_600])
    longer = cut_steps(noise, 2, hop=0.5, samples=15_600)
    torch.testing.assert_close(longer[:, 0, :8_000], noise[:, :8_000])
    assert not longer[:, 0, 8_000:].any()  # the next step's sound stays out


def test_hop_of_no_whole_number_of_samples(noise):
    hop = 1 / 29.97  # 533.87 samples
    pieces = cut_steps(noise, steps=30, hop=hop)
    for t in range(30):
        start = round(t * hop * 16_000)
        torch.testing.assert_close(pieces[:, t], noise[:, start : start + 534])


def test_hop_too_short():
    with pytest.raises(ValueError, match=r"hop is 0\.01 s, 160 samples; a step needs at least 0\.025 s"):
        per_second_mel(torch.zeros(1, 16_000), steps=1, hop=0.01)


@pytest.mark.parametrize("case", golden_cases("models/spatial/vggish_mel"))
def test_official_front_end(case):
    facts = json.loads(case.with_suffix(".json").read_text())
    recorded = np.load(case.with_suffix(".npz"))
    stride = int(re.search(r"every (\d+)", facts["arrays"]["test_log_mel"])[1])
    waveform = torch.from_numpy(recorded["test_wav_int16"] / 32768.0)
    assert waveform.dtype == torch.float64
    assert list(recorded["test_examples"].shape) == facts["arrays"]["test_examples"]
    np.testing.assert_array_equal(vggish_examples(waveform).float().numpy(), recorded["test_examples"])
    np.testing.assert_array_equal(log_mel(waveform)[::stride].float().numpy(), recorded["test_log_mel"])
    np.testing.assert_allclose(mel_matrix().numpy(), recorded["mel_matrix"], rtol=0, atol=1e-7)  # stored in float32
    single = vggish_examples(waveform.float()).numpy()
    np.testing.assert_allclose(single, recorded["test_examples"], rtol=0, atol=1e-4)
