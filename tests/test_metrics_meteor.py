# SPDX-License-Identifier: Apache-2.0
"""The real METEOR, apart from the other caption scores because its start takes most of the time."""

import json
import shutil

import pytest
from golden import golden_cases

from avkit.metrics import meteor
from avkit.metrics.captions import score_captions

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="no java on PATH"),
    pytest.mark.usefixtures("real_meteor"),
]


@pytest.mark.parametrize("case", golden_cases("metrics/captions", "json"))
def test_golden_meteor(case):
    """One start of the real program serves all three sets; a blank caption scores 0."""
    data = json.loads(case.with_suffix(".json").read_text())
    items = data["items"]
    sets = {
        "corpus": [(i["pred_tokens"], i["ref_tokens"]) for i in items],
        "corpus_first_reference_only": [(i["pred_tokens"], i["ref_tokens"][:1]) for i in items],
        "corpus_without_blank_predictions": [
            (i["pred_tokens"], i["ref_tokens"]) for i in items if i["prediction"].strip()
        ],
    }
    for name, pairs in sets.items():
        total, each = meteor.meteor_scores(*zip(*pairs, strict=True))
        assert total == pytest.approx(data[name]["METEOR"], abs=1e-6)
        if name == "corpus":
            assert each == pytest.approx([i["METEOR"] for i in items], abs=1e-6)
    result = score_captions(["a dog barks at a man"], ["a dog barks at a man"])
    assert result.values["METEOR"] == pytest.approx(1, abs=1e-6)
    assert result.notes == {}
    meteor.close()
