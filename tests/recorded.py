# SPDX-License-Identifier: Apache-2.0
"""Recorded cases of official models: weights and inputs by their rule, outputs as they were written."""

import json
import zlib

import numpy as np
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
