# SPDX-License-Identifier: Apache-2.0
"""VGGSounder: its tables, its clips as one step each, and the scores of its paper."""

import json
import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from test_fit import write_clip

from avkit.cli import main
from avkit.datasets import find_dataset
from avkit.errors import DataError, EmptySplitError
from avkit.metrics import TaggingScores
from avkit.metrics.functional import modality_confusion, tagging_scores
from avkit.metrics.tagging import SCORES, top_classes

HEAD = "video_id,label,modality,background_music,static_image,voice_over"
CLIP = "aaaaaaaaaaa_000030"
OTHER = "bbbbbbbbbbb_000000"
ROWS = (
    f'{CLIP},"dog barking, loud",AV,False,False,False',
    f"{CLIP},class 3,A,False,False,False",
    f"{OTHER},class 5,V,False,True,False",
)


def write_tables(root, rows=ROWS, names=309):
    root.mkdir(exist_ok=True)
    (root / "vggsounder.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    classes = ["dog barking, loud", *(f"class {k}" for k in range(1, names))]
    lines = [f'{k},vgg_{k},"{name}"' for k, name in enumerate(classes)]
    (root / "classes.csv").write_text("\n".join(["index,mid,display_name", *lines]) + "\n")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_tables(tmp_path_factory.mktemp("vggsounder"))
    (root / "video").mkdir()
    write_clip(root / "video" / f"{CLIP}.mp4", seconds=10)
    return root


class TestDataset:
    def test_a_clip_is_one_step(self, root):
        data = find_dataset("vggsounder")(root, "test", 32, allow_missing=True)
        assert (data.coverage, list(data.missing)) == ((1, 2), [OTHER])
        item = data.item(0)
        assert (item.id, item.steps) == (CLIP, 1)
        assert item.frames.shape == (1, 3, 32, 32)
        assert len(item.waveform) == 160_000
        assert item.targets["audio_segments"].nonzero().tolist() == [[0, 0], [0, 3]]
        assert item.targets["visual_segments"].nonzero().tolist() == [[0, 0]]
        assert item.targets["video_labels"].nonzero()[:, 0].tolist() == [0, 3]

    def test_what_is_seen_alone(self, root):
        data = find_dataset("vggsounder")(root, "test", find_media=False)
        event = data.annotations[1].events[0]
        assert (event.label, event.modality, event.end) == ("class 5", "visual", 10)
        assert len(data.vocabulary.classes) == 309

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([f"{CLIP},class 3,B,False,False,False"], r"row 1: the modality is 'B'; A, V or AV is expected"),
            ([f"{CLIP},clas 3,A,False,False,False"], r"row 1: Unknown class of VGGSounder 'clas 3'\. Did you mean"),
            ([ROWS[1], ROWS[1]], r"row 2: 'class 3' is listed twice for clip aaaaaaaaaaa_000030"),
            (["../x,class 3,A,False,False,False"], r"row 1"),
        ],
    )
    def test_damaged_rows(self, tmp_path, rows, message):
        with pytest.raises(DataError, match=message):
            find_dataset("vggsounder")(write_tables(tmp_path / "data", rows), "test", find_media=False)

    def test_other_lists_of_classes(self, tmp_path):
        with pytest.raises(DataError, match="names 300 classes; VGGSounder has 309"):
            find_dataset("vggsounder")(write_tables(tmp_path / "data", names=300), "test", find_media=False)

    def test_there_is_nothing_to_train_on(self, root):
        with pytest.raises(EmptySplitError, match=r"VGGSounder has no split 'train', only test\. Train on other data"):
            find_dataset("vggsounder")(root, "train")
        with pytest.raises(ValueError, match="Unknown split of VGGSounder 'tset'"):
            find_dataset("vggsounder")(root, "tset")

    def test_missing_tables_are_named(self, tmp_path):
        if find_spec("vggsounder") is not None:
            pytest.skip("the package vggsounder is installed, whose tables are read")
        with pytest.raises(DataError, match=r"vggsounder\.csv"):
            find_dataset("vggsounder")(tmp_path, "test", find_media=False)

    def test_tables_of_the_package(self, tmp_path, monkeypatch):
        package = tmp_path / "vggsounder"
        package.mkdir()
        (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
        write_tables(package / "data")
        monkeypatch.syspath_prepend(str(tmp_path))
        clips = tmp_path / "clips"
        clips.mkdir()
        assert len(find_dataset("vggsounder")(clips, "test", find_media=False)) == 2

    def test_perfect_answers_score_one(self, root, tmp_path, capsys):
        records = tmp_path / "answers.jsonl"
        heard = '[["dog barking, loud", 0, 10], ["class 3", 0, 10]]'
        records.write_text(f'{{"id": "{CLIP}", "audio": {heard}, "visual": [["dog barking, loud", 0, 10]]}}\n')
        words = ["score", str(records), "--dataset", "vggsounder", "--task", "avvp", "--root", str(root), "--json"]
        assert main([*words, "--allow_partial"]) == 0
        printed = json.loads(capsys.readouterr().out)
        values = {name: row["value"] for name, row in printed["figures"].items()}
        assert values["segment/A"] == values["segment/V"] == values["segment/AV"] == values["event/AV"] == 1.0


def case():
    """Scores of twelve clips and seven classes, whose scores by the authors' code are recorded below."""
    clip = np.arange(12)[:, None]
    kind = np.arange(7)
    both = ((clip * 37 + kind * 53) % 101) / 101
    audio = ((clip * 29 + kind * 61) % 97) / 97
    visual = ((clip * 17 + kind * 71) % 89) / 89
    return both, audio, visual, (((clip * 5 + kind * 3) % 4) == 0).astype(int)


#: `compare_labels_logits` and `compute_modality_confusion_logits` of Bizilizi/VGGSounder at commit 5a91bf68.
RECORDED = {
    1: (0.242424, 0.145125, 0.0, 0.137931, 0.333333, 0.190476, 0.333333),
    3: (0.421053, 0.427778, 0.0, 0.266667, 0.333333, 0.571429, 0.666667),
}


class TestScores:
    def test_equal_to_the_authors(self):
        both, audio, visual, target = case()
        scores = tagging_scores(both, target, num_classes=7, ks=(1, 3))
        for k, values in RECORDED.items():
            assert [scores[f"{name}@{k}"] for name in SCORES] == pytest.approx(values, abs=1e-6)
        confusion = modality_confusion(both, audio, visual, target)
        assert confusion == pytest.approx({"a": 1 / 6, "v": 1 / 6, "av": 0.0})

    def test_by_hand(self):
        target = [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
        scores = tagging_scores([[1, 1, 0], [1, 0, 0], [1, 0, 0]], target, num_classes=3, ks=())
        assert scores == pytest.approx(
            # the last clip has no class and does not count
            {
                "f1": 4 / 6,
                "f1_macro": (2 / 3 + 1 + 0) / 3,
                "accuracy": 0.5,
                "jaccard": 2 / 4,
                "precision": 2 / 3,
                "recall": 2 / 3,
                "hit_rate": 0.5,
            }
        )

    def test_perfect_and_empty(self):
        target = torch.eye(4)
        scores = tagging_scores(target * 2.0, target, num_classes=4)
        assert set(scores.values()) == {1.0}
        assert all(math.isnan(value) for value in TaggingScores(4).compute().values())
        assert set(tagging_scores(-target, target, num_classes=4).values()) == {0.0}

    def test_ties_go_to_the_later_class(self):
        assert top_classes(torch.zeros(1, 3), 2).tolist() == [[False, True, True]]

    def test_wrong_input(self):
        with pytest.raises(ValueError, match=r"ks has 9; give numbers of classes from 1 to 4"):
            TaggingScores(4, (9,))
        with pytest.raises(ValueError, match=r"Shapes are scores \(1, 3\), target \(1, 4\); give \(B, 4\)"):
            TaggingScores(4).update([[1, 2, 3]], [[0, 1, 0, 0]])
        with pytest.raises(ValueError, match="scores has NaN"):
            TaggingScores(2).update([[math.nan, 0.0]], [[0, 1]])
        with pytest.raises(ValueError, match="values other than 0 and 1"):
            TaggingScores(2).update([[0.5, 0.0]], [[0, 2]])
        with pytest.raises(ValueError, match="scores has values other than 0 and 1"):
            TaggingScores(2, ()).update([[0.5, 0.0]], [[0, 1]])

    def test_intervals(self):
        both, _, _, target = case()
        metric = TaggingScores(7)
        metric.update(both, target, [f"clip {k}" for k in range(12)])
        rows = metric.compute_rows()
        assert rows["hit_rate@1"].n == 12
        assert all(row.low <= row.value <= row.high for row in rows.values())
