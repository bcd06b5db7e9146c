# SPDX-License-Identifier: Apache-2.0
"""Recorded cases of official models: weights and inputs by their rule, outputs as they were written."""

import hashlib
import json
import zlib

import numpy as np
import pytest
import torch


class Recorded:
    """One case: its description, its arrays, and the weights and inputs that its rule makes."""

    def __init__(self, path):
        self.facts = json.loads(path.with_suffix(".json").read_text())
        self.arrays = np.load(path.with_suffix(".npz"))
        self.info = self.facts["info"]

    def weights(self):
        """The official state dict."""
        out = {}
        for entry in self.facts["state_dict"]:
            key = entry["key"]
            rng = np.random.default_rng(zlib.crc32((self.facts["salt"] + key).encode()))
            x = rng.standard_normal(entry["shape"]) * self.facts["fill_scale"]
            x = {"plain": x, "gain": 1 + x, "variance": 1 + np.abs(x)}[entry["kind"]]
            out[key] = torch.tensor(x, dtype=torch.float32)
        return out

    def inputs(self):
        """The tensors in `inputs`, in order."""
        rng = np.random.default_rng(self.facts["input_seed"])
        return [torch.tensor(rng.standard_normal(shape), dtype=torch.float32) for _, shape in self.facts["inputs"]]

    def names(self, start):
        """Names of arrays that begin so."""
        return [name for name in self.facts["tensors"] if name.startswith(start)]

    def expected(self, name):
        """An array as recorded; a part of it where only a part is."""
        return torch.from_numpy(np.asarray(self.arrays[name]))

    def same(self, name, found, atol=1e-4, rtol=1e-5):
        """Assert that `found` is what was recorded, to `atol`, and to `rtol` of the largest value."""
        stored = self.facts["tensors"][name]["stored"]
        wanted = self.expected(name)
        assert list(found.shape) == self.facts["tensors"][name]["shape"], name
        if stored != "full":
            found = found.reshape(-1)[:: int(stored.partition("::")[2].rstrip("]"))]
        found, wanted = found.detach().double(), wanted.double()
        bound = max(atol, rtol * float(wanted.abs().max())) if wanted.numel() else atol
        assert torch.allclose(found, wanted, rtol=0, atol=bound, equal_nan=True), (
            f"{name}: {(found - wanted).abs().max():.3g} > {bound:.3g}"
        )


class Filled:
    """One case of the spatial models: the same idea in another form of file."""

    def __init__(self, path):
        self.facts = json.loads(path.with_suffix(".json").read_text())
        self.arrays = np.load(path.with_suffix(".npz"))
        self.config = self.facts.get("config", {})

    def weights(self):
        """The official state dict; counts of batches are 0."""
        out = {}
        for key, shape, _, kind in self.facts["keys"]:
            if kind == "int":
                out[key] = torch.zeros(shape, dtype=torch.long)
                continue
            overrides = self.facts.get("scale_overrides", {})
            scale = next((s for start, s in overrides.items() if key.startswith(start)), self.facts["scale"])
            x = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape) * scale
            x = {"normal": x, "one_plus": 1 + x, "one_plus_abs": 1 + np.abs(x)}[kind]
            out[key] = torch.from_numpy(np.asarray(x, np.float32).reshape(shape))
        return out

    def inputs(self):
        """Tensors by name, drawn in their order."""
        rng = np.random.default_rng(self.facts["input_seed"])
        out = {}
        for name, shape, dtype in self.facts["input_order"]:
            if name == "target":
                x = rng.integers(0, self.config.get("answers", 42), shape)
            elif name == "question" and dtype == "int64":
                x = rng.integers(0, self.config["qst_vocab"], shape)
            elif name.startswith("mask"):
                x = (rng.random(shape) > 0.7).astype(np.float32)
            else:
                x = rng.standard_normal(shape).astype(np.float32)
            out[name] = torch.from_numpy(np.asarray(np.abs(x) if name in ABSOLUTE else x))
        return out

    def same(self, name, found):
        """Assert that `found` is what was recorded: whole numbers exactly, others to 1e-4 and 1e-4 of the deviation."""
        facts = self.facts["outputs"][name]
        wanted = torch.from_numpy(np.asarray(self.arrays[name]))
        assert list(found.shape) == facts["shape"], name
        stride = facts.get("stride") or [1] * found.ndim
        found = found.detach()[tuple(slice(None, None, s) for s in stride)]
        if not wanted.is_floating_point():
            assert torch.equal(found, wanted), name
            return
        apart = (found.double() - wanted.double()).abs()
        bound = 1e-4 + 1e-4 * facts["std"]
        if name == "logits" and facts["std"] > 10:  # they reach thousands by construction
            bound = bound + 1e-4 * wanted.double().abs()
        assert (apart <= bound).all(), f"{name}: {apart.max():.3g}"


#: Inputs that are taken without their sign.
ABSOLUTE = ("visual_posi", "visual_nega", "audio_feature")


#: How far norms of gradients may be apart: float32 through twenty normalised layers rounds otherwise on each processor.
ROUNDING = 2e-3


def check_gradients(case, network, name):
    """Norms of gradients are the recorded ones, and what never learns there never does here."""
    gradients = {network.official_name(key): p.grad for key, p in network.named_parameters()}
    unused = network.unused_keys()
    for key, recorded in case.facts[name].items():
        gradient = gradients.get(key)
        assert key in gradients or key in unused, key
        norm = 0.0 if gradient is None else float(gradient.norm())
        if recorded is None:
            assert norm == 0.0, key
        elif recorded > 1e-6:
            assert norm == pytest.approx(recorded, rel=ROUNDING, abs=1e-6), key
    prefixes = tuple(network.untrained())
    declared = {network.official_name(k) for k, _ in network.named_parameters() if prefixes and k.startswith(prefixes)}
    untrained = {key for key, recorded in case.facts[name].items() if recorded is None}
    assert untrained - declared - set(unused) == set(), "parameters without a gradient that are not declared"


def check_weights(case, network):
    """Recorded weights are filled by their rule, every key comes back, and as many parameters are trained."""
    given = case.weights()
    digest = hashlib.sha256()
    for key in sorted(given):
        if given[key].is_floating_point():
            digest.update(given[key].numpy().tobytes())
    assert digest.hexdigest() == case.facts["weights_sha256"]
    official = network.to_official()
    assert official.keys() == given.keys()
    for key, x in official.items():
        assert torch.equal(x, given[key]), key
    learnt = sum(given[key].numel() for key, _, _, kind in case.facts["keys"] if "running" not in key and kind != "int")
    assert learnt == case.facts["params"][0]
