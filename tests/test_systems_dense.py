# SPDX-License-Identifier: Apache-2.0
"""UnAV and CCNet against what the authors' code gave."""

import numpy as np
import pytest
import torch
from golden import golden_cases
from recorded import Recorded

from avkit.systems.ccnet import CCNet
from avkit.systems.unav import UnAV


class Video(Recorded):
    """A case of untrimmed videos."""

    def network(self):
        config, cls = self.facts["model_config"], {"CCNet": CCNet, "UnAV": UnAV}[self.facts["model"]]
        options = {"heads": config["n_head"], "length": config["max_seq_len"]}
        if cls is UnAV:
            options["places"] = config["use_abs_pe"]
        return cls.from_official(self.weights(), **options).eval()

    def batch(self):
        rng = np.random.default_rng(self.facts["input_seed"])
        config, lengths = self.facts["model_config"], self.facts["lengths"]
        visual, audio = (torch.zeros(len(lengths), max(lengths), config[f"input_dim_{x}"]) for x in "VA")
        for i, n in enumerate(lengths):
            visual[i, :n] = torch.tensor(rng.standard_normal((n, visual.shape[2])), dtype=torch.float32)
            audio[i, :n] = torch.tensor(rng.standard_normal((n, audio.shape[2])), dtype=torch.float32)
        return visual, audio, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("case", [*golden_cases("models/temporal/ccnet"), *golden_cases("models/temporal/unav")])
def test_every_stage_is_the_official_one(case):
    case = Video(case)
    network = case.network()
    with torch.inference_mode():
        batch = network.pad(*case.batch())
        case.same("out/input_mask", batch[2][:, None] if case.expected("out/input_mask").ndim == 3 else batch[2])
        levels = network.look(*batch)
        neck = network.relate(levels)
        found = network.decoder(neck, [level.valid for level in levels])
    for i, level in enumerate(levels):
        case.same(f"out/backbone_V/{i}", level.visual.mT, 1e-5, 1e-5)
        case.same(f"out/backbone_A/{i}", level.audio.mT, 1e-5, 1e-5)
        case.same(f"out/neck/{i}", neck[i].mT, 1e-5, 1e-5)
        if level.audio_gate is not None:
            case.same(f"out/gate_audio/{i}", level.audio_gate.mT, 1e-6)
            case.same(f"out/gate_visual/{i}", level.visual_gate.mT, 1e-6)
        case.same(f"out/cls_logits/{i}", found[i].logits)
        case.same(f"out/offsets/{i}", found[i].reach)
