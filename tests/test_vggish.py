# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from golden import golden_cases

from avkit.encoders.vggish import VGGish, VGGishAudio, VGGishPostprocessor
from avkit.media.mel import log_mel


class TestVGGish:
    @pytest.fixture(scope="class")
    def network(self):
        return VGGish().eval()

    def test_shapes(self, network):
        mel = torch.randn(2, 96, 64)
        assert network(mel).shape == (2, 128)
        torch.testing.assert_close(network(mel), network(mel[:, None]))
        with pytest.raises(ValueError, match=r"examples \(N, 96, 64\), got \(2, 98, 64\)"):
            network(torch.zeros(2, 98, 64))

    def test_audio_takes_the_first_example_of_each_step(self, network):
        encoder = VGGishAudio().eval()
        encoder.network = network
        waveform = torch.rand(2, 30_000) - 0.5
        out = encoder(waveform, steps=2, hop=1.0)
        assert out.shape == (2, 2, 128)
        torch.testing.assert_close(out[:, 0], network(log_mel(waveform[:, :15_600])))
        last = torch.nn.functional.pad(waveform[:, 16_000:], (0, 1_600))
        torch.testing.assert_close(out[:, 1], network(log_mel(last)))

    def test_gradient(self):
        network = VGGish()
        network(torch.randn(1, 96, 64)).sum().backward()
        assert all(p.grad is not None for p in network.parameters())

    def test_postprocessor_by_hand(self, tmp_path):
        np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.eye(128), pca_means=np.ones((128, 1)))
        out = VGGishPostprocessor(tmp_path / "pca.npz")(torch.tensor([[1.0, 3.5, -4.0] + [2.0] * 125]))
        assert out[0, :4].tolist() == [128, 255, 0, 191]  # 0, over 2, under -2, 1: 127.5 rounds to even
        np.savez(tmp_path / "other.npz", means=np.ones(3))
        with pytest.raises(ValueError, match=r"lacks pca_eigen_vectors, pca_means; it holds means"):
            VGGishPostprocessor(tmp_path / "other.npz")

    def test_released_pca(self, real):
        post = VGGishPostprocessor(real / "vggish/vggish_pca_params.npz")
        gram = post.pca_eigen_vectors @ post.pca_eigen_vectors.T
        off = gram - torch.diag(gram.diagonal())
        assert off.abs().max() < 1e-2 * gram.diagonal().max()  # directions of a PCA are orthogonal


def filled(keys, scale):
    """Tensors by the recorded rule, each from a generator seeded with its own name."""
    state = {}
    for key, shape, _, _ in keys:
        draw = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape) * scale
        state[key] = torch.from_numpy(draw.astype(np.float32))
    return state


def digest(state):
    sha = hashlib.sha256()
    for key in sorted(state):
        sha.update(state[key].numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize("case", golden_cases("models/spatial/vggish", but="vggish_mel"))
def test_vggish_equals_the_official_network(case):
    facts, recorded = json.loads(case.with_suffix(".json").read_text()), np.load(case.with_suffix(".npz"))
    state = filled(facts["keys"], facts["scale"])
    assert digest(state) == facts["weights_sha256"]
    network = VGGish().eval()
    network.load_state_dict(state)
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
    x = np.random.default_rng(facts["input_seed"]).standard_normal((4, 1, 96, 64)).astype(np.float32)
    with torch.no_grad():
        close(network(torch.from_numpy(x)).numpy(), recorded["embed"])
        close(network.features(torch.from_numpy(x))[:, ::16].numpy(), recorded["features"])
        mel = torch.from_numpy(
            np.load(case.parent / f"{case.name.replace('vggish', 'vggish_mel', 1)}.npz")["test_examples"]
        )
        close(network(mel).numpy(), recorded["embed_wav"])
    post = VGGishPostprocessor()
    post.load_state_dict(filled(facts["pproc_keys"], 0.05))
    assert digest(post.state_dict()) == facts["pproc_sha256"]
    whitened = post.project(8 * torch.from_numpy(recorded["embed_wav"]))
    close(whitened.numpy(), recorded["pca_applied"])
    levels = (np.clip(recorded["pca_applied"], -2, 2) + 2) * 63.75
    sure = np.abs(levels % 1 - 0.5) > 1e-3
    got = post(8 * torch.from_numpy(recorded["embed_wav"])).numpy()
    np.testing.assert_array_equal(got[sure], recorded["postprocess"][sure])
    assert np.abs(got - recorded["postprocess"]).max() <= 1
