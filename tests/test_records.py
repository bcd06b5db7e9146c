# SPDX-License-Identifier: Apache-2.0
"""Records of measurements, and verdicts on them."""

import json
from dataclasses import replace

import pytest

from avkit.errors import FileError
from avkit.leaderboard import (
    Claim,
    Figure,
    Printed,
    Record,
    judge,
    read_record,
    read_records,
    write_record,
    write_records,
)

RECORD = Record(
    task="avqa",
    dataset="music-avqa",
    release="update",
    split="test",
    setting="",
    n=9129,
    official_n=9129,
    figures={"Overall": Figure(0.7679, 9129, "questions", 0.759, 0.776), "Audio Avg": Figure(0.7691)},
    method="TSPM",
    system="tspm",
    experiment="tspm_music_avqa",
    by="weights",
    seeds=[0],
    protocol={"prompts": "authors", "hop": "1 s", "precision": "32-true"},
    features={"visual": "clip_vit_l_336, width 768"},
    hashes={"predictions": "00ff"},
    options={"data.release": "update", "model.betas": [0.9, 0.98]},
)
CLAIM = Claim(
    name="TSPM (Ours)",
    source="TSPM (ACM MM 2024), Table 1",
    task="avqa",
    dataset="music-avqa",
    figures={"Overall": Printed("76.79"), "Audio Avg": Printed("76.91")},
    release="update",
    split="test",
    features={"visual": "clip_vit_l_336, width 768"},
    protocol={"prompts": "authors", "hop": "1 s"},
)


def measured(overall, audio=0.7691, **changes):
    return replace(RECORD, figures={"Overall": Figure(overall), "Audio Avg": Figure(audio)}, **changes)


def trained(*scores, **changes):
    return [measured(score, by="training", seeds=[seed], **changes) for seed, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("text", "scale", "value", "half_unit"),
    [
        ("76.79", "percent", 0.7679, 0.005),
        ("82.90", "percent", 0.829, 0.005),
        ("47", "percent", 0.47, 0.5),
        ("0.653", "fraction", 0.653, 0.05),
        ("0.4", "fraction", 0.4, 5.0),
        ("1.25", "number", 1.25, 0.5),
    ],
)
def test_printed(text, scale, value, half_unit):
    printed = Printed(text, scale)
    assert printed.value == pytest.approx(value)
    assert printed.half_unit == pytest.approx(half_unit)


@pytest.mark.parametrize("text", ["", "n/a", "nan", "76,79"])
def test_no_printed_figure(text):
    with pytest.raises(ValueError, match="is no printed figure"):
        Printed(text)


def test_reproduced():
    verdict = judge([RECORD], CLAIM)
    assert (verdict.word, verdict.reasons, verdict.status) == ("reproduced", (), 0)
    assert [comparison.place for comparison in verdict.comparisons] == ["within", "within"]


@pytest.mark.parametrize(
    ("overall", "precision", "word", "status"),
    [
        (0.76790 + 0.00024, "32-true", "reproduced", 0),
        (0.76790 + 0.00026, "32-true", "above", 1),
        (0.76790 - 0.00026, "32-true", "below", 1),
        (0.76790 - 0.00054, "bf16-mixed", "reproduced", 0),
        (0.76790 - 0.00056, "bf16-mixed", "below", 1),
    ],
)
def test_tolerance_of_weights(overall, precision, word, status):
    record = measured(overall, protocol={**RECORD.protocol, "precision": precision})
    verdict = judge([record], CLAIM)
    assert (verdict.word, verdict.status) == (word, status)


def test_predictions_are_judged_as_weights():
    assert judge([measured(0.7683, by="predictions")], CLAIM).word == "above"


def test_one_figure_below_is_below():
    verdict = judge([measured(0.7800, audio=0.76)], CLAIM)
    assert verdict.word == "below"
    assert [reason.split()[0] for reason in verdict.reasons] == ["Overall", "Audio"]
    assert "published 76.79" in verdict.reasons[0]


def test_decimals_decide():
    claim = replace(CLAIM, figures={"Overall": Printed("76.8")})
    assert judge([measured(0.7684)], claim).word == "reproduced"


@pytest.mark.parametrize(
    ("scores", "word", "status"),
    [
        ([0.7679], "within", 0),
        ([0.7778], "within", 0),
        ([0.7781], "outside", 1),
        ([0.7567], "outside", 1),
        ([0.76, 0.77], "reproduced", 0),
        ([0.78, 0.781], "above", 1),
        ([0.75, 0.751, 0.752], "below", 1),
        ([0.73, 0.76, 0.78], "reproduced", 0),  # 1.12 points off with a standard deviation of 2.5
    ],
)
def test_tolerance_of_training(scores, word, status):
    verdict = judge(trained(*scores), CLAIM)
    assert (verdict.word, verdict.status) == (word, status)


def test_differences_cap_the_verdict():
    claim = replace(CLAIM, differs=["The tokens are those of another network."])
    for records in ([RECORD], trained(0.7679), trained(0.76, 0.77)):
        verdict = judge(records, claim)
        assert (verdict.word, verdict.status) == ("within, with differences", 0)
        assert verdict.reasons[0] == "The tokens are those of another network."
    assert judge([measured(0.5)], claim).word == "below"


def test_a_missing_figure_caps_the_verdict():
    claim = replace(CLAIM, figures={**CLAIM.figures, "Visual Avg": Printed("83.61")})
    verdict = judge([RECORD], claim)
    assert verdict.word == "within, with differences"
    assert verdict.reasons == ("Visual Avg was not measured",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 9128}, "9,128 of 9,129 official samples"),
        ({"official_n": None}, "no official list"),
        ({"release": "original"}, "release original, published for update"),
        ({"split": "val"}, "split val, published for test"),
        ({"dataset": "music-avqa-v2"}, "dataset music-avqa-v2"),
        ({"features": {"visual": "i3d, width 768"}}, "visual clip_vit_l_336, width 768, measured with i3d"),
        ({"features": {}}, "an unknown one"),
        ({"protocol": {"prompts": "avkit", "hop": "1 s"}}, "prompts authors, measured with avkit"),
        ({"protocol": {"prompts": "authors", "hop": "0.96 s"}}, "hop 1 s, measured with 0.96 s"),
    ],
)
def test_not_comparable(changes, reason):
    verdict = judge([replace(RECORD, **changes)], CLAIM)
    assert (verdict.word, verdict.status) == ("not comparable", 2)
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]
    assert str(verdict) == f"not comparable ({verdict.reasons[0]})"
    assert verdict.comparisons == ()


def test_evaluation_batch_counts_only_where_the_row_says_it():
    record = replace(RECORD, protocol={**RECORD.protocol, "evaluation batch": "2"})
    assert judge([record], CLAIM).word == "reproduced"
    claim = replace(CLAIM, protocol={**CLAIM.protocol, "evaluation batch": "1"})
    assert judge([record], claim).reasons == ("evaluation batch 1, measured with 2",)


def test_nothing_in_common():
    assert "none of CIDEr" in str(judge([RECORD], replace(CLAIM, figures={"CIDEr": Printed("1.2", "number")})))


def test_seeds_must_be_seeds_of_one_measurement():
    same = [measured(0.768, by="training", seeds=[3])] * 2
    assert "seed 3 stands 2 times" in str(judge(same, CLAIM))
    first, second = trained(0.768, 0.769)
    assert "among the seeds" in str(judge([first, replace(second, system="pstp")], CLAIM))
    assert judge([RECORD, replace(RECORD, seeds=[1])], CLAIM).word == "not comparable"


def test_scenes_are_never_compared():
    verdict = judge([replace(RECORD, by="scenes")], CLAIM)
    assert (verdict.word, verdict.status) == ("smoke", 2)


def test_claims_alone():
    assert judge([], CLAIM).word == "claimed"
    assert judge([], replace(CLAIM, disputed=["74.2 in another table"])).word == "disputed"
    impossible = replace(CLAIM, impossible=["the types pool to 74.45"])
    assert judge([], impossible).word == "impossible"
    assert judge([RECORD], impossible).reasons == ("the types pool to 74.45",)


def test_records_are_read_as_they_were_written(tmp_path):
    path = write_record(tmp_path / "record.json", RECORD)
    assert read_record(path) == replace(RECORD, recipe=[], differs=[], changed=[])
    path = write_records(tmp_path / "records.json", [RECORD, replace(RECORD, task="avs")])
    assert [record.task for record in read_records(path)] == ["avqa", "avs"]
    with pytest.raises(FileError, match="holds 2 records"):
        read_record(path)


def test_a_figure_that_is_no_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="takes finite numbers only"):
        write_record(tmp_path / "record.json", measured(float("nan")))
    assert not list(tmp_path.iterdir())


def edited(record, **changes):
    return {**record, **changes}


def without(record, name):
    return {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: edited(r, n=9999), "was edited"),
        (lambda r: edited(r, figures={"Overall": {**r["figures"]["Overall"], "value": 0.9}}), "was edited"),
        (lambda r: without(r, "crc32"), "without its checksum"),
        (lambda r: edited(without(r, "crc32"), crc_32=r["crc32"]), "without its checksum"),
        (lambda r: edited(r, format="avkit record 9"), "has the format 'avkit record 9'"),
        (lambda r: {"n": 3}, "is no record of avkit"),
        (lambda r: 7, "is no record of avkit"),
    ],
)
def test_edited_records_are_refused(tmp_path, change, problem):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(change(RECORD.to_json())))
    with pytest.raises(FileError, match=problem) as error:
        read_record(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n": "9129"}, "has '9129' as 'n', which is no int"),
        ({"n": True}, "has True as 'n'"),
        ({"by": "hearsay"}, "none of weights, training, predictions, scenes"),
        ({"figures": {"Overall": 0.5}}, "has 0.5 as figure Overall"),
        ({"figures": {"Overall": {"value": "high"}}}, "has 'high' as 'value'"),
        ({"extra": 1}, "unknown entry 'extra'"),
        ({"task": None}, "has None as 'task'"),
    ],
)
def test_records_of_another_form_are_refused(tmp_path, changes, problem):
    from avkit.reading.checksums import with_checksum

    path = tmp_path / "record.json"
    path.write_text(json.dumps(with_checksum({**RECORD.to_json(), **changes})))
    with pytest.raises(FileError, match=problem):
        read_record(path)


def test_a_record_lacks_an_entry(tmp_path):
    from avkit.reading.checksums import with_checksum

    path = tmp_path / "record.json"
    path.write_text(json.dumps(with_checksum(without(RECORD.to_json(), "figures"))))
    with pytest.raises(FileError, match="lacks 'figures'"):
        read_record(path)
