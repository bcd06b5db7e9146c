# SPDX-License-Identifier: Apache-2.0
"""What the systems of question answering share: text encoding, weights in and out, training and prediction."""

import pytest
import torch

from avkit.batch import Item, Vocabulary
from avkit.collate import collate
from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.errors import DataError
from avkit.systems import find_config, find_network
from avkit.systems.base import RunContext
from avkit.systems.questions import CachedTextEncoder

SMALL = {
    "tspm": {"audio": 4, "visual": 6, "patches": 5, "text": 7, "answers": 3, "width": 8, "inner": 8},
    "pstp": {"audio": 4, "visual": 6, "text": 7, "answers": 3, "width": 8, "inner": 8},
    "avst": {"audio": 4, "visual": 8, "answers": 3, "width": 8},
}
OPTIONS = {
    "tspm": {"width": 16, "topk": 2, "patch_select": "index"},
    "pstp": {"width": 16, "fusion": "paper", "segments": 2, "topk": 1, "topm": 3},
    "avst": {},
}


class LengthEncoder(TextEncoder):
    """Encodes sentences as their lengths, and counts them."""

    def __init__(self, frozen):
        super().__init__()
        self.width = 2
        self.weight = torch.nn.Parameter(torch.ones(2), requires_grad=not frozen)
        self.count = 0

    def forward(self, texts):
        self.count += len(texts)
        lengths = torch.tensor([len(text.split()) for text in texts])
        valid = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        return TextFeatures(valid[..., None] * self.weight, valid, lengths[:, None] * self.weight)


@pytest.mark.parametrize("frozen", [False, True])
def test_equal_sentences_are_encoded_once(frozen):
    encoder = LengthEncoder(frozen)
    cached = CachedTextEncoder(encoder)
    results = [cached(["a b", "c", "a b"]) for _ in range(2)]
    assert encoder.count == (2 if frozen else 4)
    for features in results:
        assert features.pooled.tolist() == [[2, 2], [1, 1], [2, 2]]
        assert features.valid.tolist() == [[True, True], [True, False], [True, True]]


@pytest.mark.parametrize("name", SMALL)
def test_converted_weights_go_there_and_back(name, tmp_path):
    if name == "avst":
        pytest.importorskip("timm")
    network = find_network(name).build(**SMALL[name])
    state = network.to_official()
    again = find_network(name).from_official({f"module.{k}": v for k, v in state.items()})
    again.save(tmp_path / "x.safetensors")
    loaded = find_network(name).load(tmp_path / "x.safetensors")
    assert loaded.built_with == network.built_with
    for key, x in loaded.to_official().items():
        assert torch.equal(x, state[key]), key


@pytest.mark.parametrize("name", SMALL)
def test_weights_that_do_not_fit_are_refused_with_what_is_wrong(name):
    if name == "avst":
        pytest.importorskip("timm")
    network = find_network(name).build(**SMALL[name])
    state = network.to_official()
    other = next(n for n in SMALL if n != name)
    with pytest.raises(
        DataError, match=rf"no official weights of {other}.*They are those of {name}: avkit convert {name}"
    ):
        find_network(other).from_official(state)
    key = next(k for k in sorted(state) if k not in network.unused_keys() and k.endswith("weight"))
    wrong = state | {key: torch.zeros(2, 2), "surplus": torch.zeros(1)}
    with pytest.raises(DataError, match=r"1 unknown \(surplus\).*1 of another shape"):
        network.load_official(wrong)
    with pytest.raises(DataError, match="takes no head"):
        find_network(name).from_official(state, head=3)


def make_system(name):
    torch.manual_seed(0)
    vocabulary = Vocabulary(answers=["yes", "no", "two"], words=["is", "there", "a", "dog"])
    config = find_config(name)(**OPTIONS[name])
    return config.build(RunContext(config.make_tasks(["avqa"], vocabulary), vocabulary))


def make_batch(questions, count=2, steps=4):
    torch.manual_seed(1)
    items = [
        Item(
            f"clip {number}",
            float(steps),
            frames=torch.randint(256, (steps, 3, 32, 32), dtype=torch.uint8),
            waveform=torch.randn(16_000 * steps),
            text=questions,
            targets={"answer": ["yes"] * len(questions or []), "question_type": ["x"] * len(questions or [])},
        )
        for number in range(count)
    ]
    return collate(items, "avqa")


@pytest.mark.parametrize("name", SMALL)
def test_systems_train_and_predict(name):
    system = make_system(name).train()
    batch = make_batch(["Is there a dog?", "Is there a cat?"])
    losses = system.loss(system(batch), batch)
    assert set(losses) == ({"loss", "answer", "pairs"} if name == "avst" else {"loss"})
    assert all(loss.isfinite() for loss in losses.values())
    losses["loss"].backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in system.network.parameters())
    batch.targets = {}
    with torch.inference_mode():
        output = system.eval()(batch)
        prediction = system.predict(output, batch)
        again = system(batch, system.encode(batch))
    torch.testing.assert_close(again.logits, output.logits)
    assert set(prediction["answer"]) <= {"yes", "no", "two"}
    selects = name != "avst"
    assert ("chosen" in prediction.values) == selects
    if selects:
        assert prediction["step_weights"].shape == (4, 4)
        assert prediction["parts"].shape[:2] == prediction["shown"].shape == prediction["chosen"].shape


def test_words_that_a_system_may_read():
    assert not any(make_system(name).reads_any_word for name in SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_without_questions_is_refused(name):
    with pytest.raises(ValueError, match="clips clip 0, clip 1 bring none"):
        make_system(name)(make_batch(None))
