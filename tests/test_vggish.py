# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import zlib

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


#: Standard deviation of the recorded post-processor's weights, where a case does not state it.
PCA_SCALE = 0.05


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


class RecordedVGGish:
    """A recorded case: its facts, its arrays, and the network with the weights of its rule."""

    def __init__(self, path):
        self.path = path
        self.facts = json.loads(path.with_suffix(".json").read_text())
        self.arrays = np.load(path.with_suffix(".npz"))

    def network(self):
        state = filled(self.facts["keys"], self.facts["scale"])
        assert digest(state) == self.facts["weights_sha256"]
        network = VGGish().eval()
        network.load_state_dict(state)
        return network

    def postprocessor(self):
        postprocessor = VGGishPostprocessor()
        postprocessor.load_state_dict(filled(self.facts["pproc_keys"], self.facts.get("pproc_scale", PCA_SCALE)))
        assert digest(postprocessor.state_dict()) == self.facts["pproc_sha256"]
        return postprocessor

    def inputs(self):
        (_, shape, dtype), *others = self.facts["input_order"]
        assert not others
        draw = np.random.default_rng(self.facts["input_seed"]).standard_normal(shape)
        return torch.from_numpy(draw.astype(dtype))

    def mel_examples(self):
        """Log-mel examples of the mel case of the same name, or else of the only one, or the first one, beside it."""
        namesake = self.path.with_name(self.path.name.replace("vggish", "vggish_mel", 1)).with_suffix(".npz")
        files = [namesake] if namesake.exists() else sorted(self.path.parent.glob("vggish_mel*.npz"))
        return torch.from_numpy(np.load(files[0])["test_examples"])

    def same(self, name, result):
        """Assert that a result is what was recorded; of some arrays only the values at a stride are stored."""
        stride = self.facts["outputs"][name]["stride"] or [1] * result.ndim
        assert list(result.shape) == self.facts["outputs"][name]["shape"], name
        stored = result[tuple(slice(None, None, step) for step in stride)]
        np.testing.assert_allclose(stored.numpy(), self.arrays[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("path", golden_cases("models/spatial/vggish", but="vggish_mel"))
@torch.no_grad()
def test_vggish_equals_the_official_network(path):
    case = RecordedVGGish(path)
    network = case.network()
    inputs = case.inputs()
    case.same("embed", network(inputs))
    case.same("features", network.features(inputs))
    case.same("embed_wav", network(case.mel_examples()))


@pytest.mark.parametrize("path", golden_cases("models/spatial/vggish", but="vggish_mel"))
def test_postprocessor_equals_the_official_one(path):
    case = RecordedVGGish(path)
    postprocessor = case.postprocessor()
    embedding = 8 * torch.from_numpy(case.arrays["embed_wav"])
    case.same("pca_applied", postprocessor.project(embedding))
    levels = (np.clip(case.arrays["pca_applied"], -2, 2) + 2) * 63.75
    far_from_rounding = np.abs(levels % 1 - 0.5) > 1e-3
    result = postprocessor(embedding).numpy()
    expected = case.arrays["postprocess"]
    np.testing.assert_array_equal(result[far_from_rounding], expected[far_from_rounding])
    assert np.abs(result - expected).max() <= 1
