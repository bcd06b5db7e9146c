# SPDX-License-Identifier: Apache-2.0
import json
import math
import os
import shutil
import stat
import time
from collections import Counter

import pytest
from golden import golden_cases

from avkit.metrics import java, meteor
from avkit.metrics.captions import CaptionScores, score_captions
from avkit.metrics.java import JavaError, JavaProcess
from avkit.metrics.ptb_tokenizer import plain_tokens, ptb_tokens

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on PATH")
pytestmark = pytest.mark.usefixtures("real_meteor")
FAST = {"tokenizer": "plain", "meteor": False}


@pytest.fixture
def no_java(monkeypatch):
    meteor.close()  # a program that another test started would go on answering
    monkeypatch.setattr(java.shutil, "which", lambda name: None)


@pytest.fixture
def fake_java(monkeypatch, tmp_path):
    """Puts a shell script named java first on PATH."""

    def write(body):
        path = tmp_path / "java"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    meteor.close()
    yield write
    meteor.close()


def slow_bleu(pairs, order):
    """Corpus BLEU as in the paper: clipped counts, closest reference length."""
    right, made, length, reference = [0] * order, [0] * order, 0, 0
    for prediction, refs in pairs:
        words, truths = prediction.split(), [r.split() for r in refs]
        length += len(words)
        reference += min((abs(len(t) - len(words)), len(t)) for t in truths)[1]
        for n in range(1, order + 1):
            grams = [Counter(tuple(x[i : i + n]) for i in range(len(x) - n + 1)) for x in (words, *truths)]
            made[n - 1] += sum(grams[0].values())
            right[n - 1] += sum(min(count, max(g[gram] for g in grams[1:])) for gram, count in grams[0].items())
    precision = math.prod(r / m for r, m in zip(right, made, strict=True)) ** (1 / order)
    return precision * math.exp(min(0, 1 - reference / length))


def test_bleu_equals_the_formula():
    pairs = [
        ("a man plays the guitar on the left", ["a man on the left plays the guitar", "the man plays a guitar"]),
        ("the the dog barks at the old man", ["the dog barks loudly at the old man"]),
    ]
    result = score_captions(*zip(*pairs, strict=True), **FAST)
    for order in range(1, 5):
        assert result.values[f"BLEU-{order}"] == pytest.approx(slow_bleu(pairs, order), rel=1e-6)


def test_perfect_captions_and_one_wrong():
    texts = ["A dog barks at the tall man.", "Two women sing a quiet song."]
    perfect = score_captions(texts, texts, **FAST)
    assert perfect.values["BLEU-4"] == pytest.approx(1)
    assert perfect.values["ROUGE-L"] == 1
    assert perfect.values["CIDEr"] == pytest.approx(10)
    half = score_captions(texts, [texts[0], "rain falls on tin roofs"], **FAST)
    assert half.per_caption["ROUGE-L"] == [1, 0]
    assert half.values["ROUGE-L"] == 0.5
    assert half.values["CIDEr"] == pytest.approx(5)


def test_rouge_of_a_hand_made_pair():
    # common subsequence "a dog barks" of 3; candidate has 4 words, reference 6
    value = score_captions(["a dog barks now"], ["a big dog barks very loudly"], **FAST).values["ROUGE-L"]
    precision, recall = 3 / 4, 3 / 6
    assert value == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))


def test_blank_prediction_scores_zero_and_stays_in():
    result = score_captions(["", "a dog barks at a man"], ["a cat meows at us", "a dog barks at a man"], **FAST)
    assert result.values["ROUGE-L"] == 0.5
    assert result.values["BLEU-1"] == pytest.approx(math.exp(1 - 11 / 6), rel=1e-6)


def test_only_what_is_asked_for():
    metric = CaptionScores("plain", meteor=False, rouge=False, cider=False)
    metric.update(["a dog"], ["a dog"])
    assert list(metric.compute()) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    assert metric.notes["BLEU-4"] == "plain tokeniser"


def test_metric_gathers_updates_and_resets(capsys):
    predictions = ["a dog barks", "a cat\u2028meows\nat night", "naïve café 😭", 'she said "hi"']
    references = [["a dog barks", "dogs bark"], "a cat meows at night", ["a naïve café"], ["she says hi"]]
    metric = CaptionScores(**FAST)
    metric.update(predictions[:1], references[:1])
    metric.update([], [])
    metric.update(predictions[1:], references[1:])
    assert metric.compute() == score_captions(predictions, references, **FAST).values
    metric.reset()
    assert all(math.isnan(value) for value in metric.compute().values())
    assert list(metric.compute()) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]
    assert capsys.readouterr().out == ""


def test_empty_set_is_nan_without_java(no_java):
    result = score_captions([], [])
    assert set(result.values) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "METEOR", "CIDEr"}
    assert all(math.isnan(value) for value in result.values.values())
    assert ptb_tokens([]) == []


def test_without_java_the_rest_is_scored_and_said_so(no_java):
    result = score_captions(["a dog barks at me"], ["a dog barks at me"])
    assert math.isnan(result.values["METEOR"])
    assert "METEOR" not in result.per_caption
    advice = "no java on PATH; install a Java runtime, e.g. openjdk-17-jre-headless"
    assert result.notes["METEOR"] == f"not run: {advice}"
    assert result.notes["BLEU-4"] == result.notes["CIDEr"] == f"plain tokeniser ({advice})"
    assert result.values["BLEU-4"] == pytest.approx(1)
    metric = CaptionScores("plain")
    metric.update(["a dog"], ["a dog"])
    metric.compute()
    assert metric.notes["METEOR"] == f"not run: {advice}"
    with pytest.raises(JavaError, match="no java on PATH; install a Java runtime"):
        score_captions(["a"], ["a"], tokenizer="ptb")


def test_java_that_fails_is_reported(fake_java):
    fake_java('echo "Unable to locate a Java Runtime." >&2; exit 1')
    result = score_captions(["a dog"], ["a dog"])
    reason = "java ended with status 1; it wrote: Unable to locate a Java Runtime."
    assert result.notes["METEOR"] == f"not run: {reason}"
    assert result.notes["ROUGE-L"] == f"plain tokeniser ({reason})"
    with pytest.raises(JavaError, match="status 1; it wrote: Unable to locate"):
        ptb_tokens(["a dog"])


def test_java_that_hangs_is_stopped_with_its_children(fake_java):
    fake_java("sleep 600")  # the shell's child holds the pipes
    start = time.monotonic()
    result = score_captions(["a dog"], ["a dog"], timeout=0.5)
    assert time.monotonic() - start < 10
    assert "java gave no answer within 0.5 s and was stopped; give a longer timeout" in result.notes["METEOR"]
    with pytest.raises(JavaError, match=r"no answer within 0\.5 s"):
        meteor.meteor_scores(["a dog " * 100_000], [["a dog"]], timeout=0.5)  # more than a pipe holds


def test_java_that_cannot_be_started(fake_java, monkeypatch, tmp_path):
    monkeypatch.setattr(java.shutil, "which", lambda name: str(tmp_path))
    with pytest.raises(JavaError, match="java cannot be started"):
        JavaProcess("-version")


def test_tokeniser_that_loses_lines_is_refused(fake_java):
    fake_java("cat > /dev/null; echo one")
    with pytest.raises(JavaError, match="gave 1 lines for 2 captions"):
        ptb_tokens(["one", "two"])


def test_meteor_speaks_line_by_line_and_restarts(fake_java, tmp_path):
    # answers each SCORE with the number of lines so far; EVAL with two scores and the total
    fake_java(
        f"echo start >> {tmp_path}/starts; n=0\n"
        "while read -r line; do n=$((n+1))\n"
        'case "$line" in EVAL*) printf "0.25\\n0.75\\n0.4\\n";; *) echo "$n.0 2";; esac; done'
    )
    expected = (0.4, [0.25, 0.75])
    assert meteor.meteor_scores(["a", "b"], [["c"], ["d", "e"]], timeout=20) == expected
    assert meteor.meteor_scores(["a", "b"], [["c"], ["d"]], timeout=20) == expected
    assert (tmp_path / "starts").read_text().count("start") == 1
    meteor.close()
    meteor.close()
    assert meteor.meteor_scores(["a", "b"], [["c"], ["d"]], timeout=20) == expected
    assert (tmp_path / "starts").read_text().count("start") == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo Error: Could not reserve enough space; cat > /dev/null", "METEOR answered 'Error: Could not reserve"),
        ("read -r line; exit 0", "java ended before it answered"),
    ],
)
def test_meteor_that_breaks_is_reported(fake_java, body, message):
    fake_java(body)
    with pytest.raises(JavaError, match=message):
        meteor.meteor_scores(["a"], [["b"]], timeout=20)
    result = score_captions(["a"], ["b"], tokenizer="plain")
    assert message in result.notes["METEOR"]


def test_missing_jar_says_what_to_install(monkeypatch):
    with pytest.raises(
        JavaError, match=r"no nowhere/no.jar in pycocoevalcap; install it with `pip install pycocoevalcap`"
    ):
        java.find_jar("nowhere", "no.jar")
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(JavaError, match="install it with"):
        java.find_jar("meteor", "meteor-1.5.jar")


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="2 predictions and 1 references; give a list of captions"):
        score_captions(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="give a list of captions"):
        CaptionScores().update("a", "a")
    with pytest.raises(ValueError, match="Caption 1, 'b', has no reference; leave it out or give one"):
        CaptionScores().update(["a", "b"], [["a"], []])
    with pytest.raises(TypeError, match="Caption 0 or its reference is None, a NoneType; give strings"):
        CaptionScores().update([None], ["a"])
    for make in (CaptionScores, lambda tokenizer: score_captions([], [], tokenizer=tokenizer)):
        with pytest.raises(ValueError, match=r"Unknown tokenizer 'plane'. Did you mean 'plain'"):
            make(tokenizer="plane")


def test_plain_tokens_of_hand_made_captions():
    cases = {
        "It's 7:30 P.M. -- isn't it?": "it 's 7:30 p.m. is n't it",
        "the dogs' bowls, o'clock": "the dogs bowls o'clock",
        "We cannot; they're gonna (loudly).": "we can not they 're gon na -lrb- loudly -rrb-",
        "well-known 10-12% “loud” noise…": "well-known 10-12 % loud noise",
        "wow!!! what?! 1,000.50 a@b.com": "wow !!! what ?! 1,000.50 a@b.com",
        "one ||| two": "one | | | two",
        "...\r\n": "",
    }
    assert plain_tokens(list(cases)) == list(cases.values())


@needs_java
def test_plain_tokens_agree_with_java_on_everyday_captions():
    captions_ = [
        "The woman's violin isn't heard; a man (left) claps 3 times.",
        "Two people can't stop laughing, don't they?",
        "She's gotta play at 5 p.m. on St. John's day!",
        "A half-open door creaks, e.g. at night.",
        "They'd sing \u2018softly\u2019 \u2014 we'll listen & I'm glad 🎵",
        'A "click" - then 50% less noise...',
    ]
    assert plain_tokens(captions_) == ptb_tokens(captions_)


@needs_java
def test_line_breaks_inside_a_caption_do_not_shift_the_next(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    captions_ = ["a\rb\u2028c\u0085d\x0be\x0cf\u2029g\nh", "", "Café — „Straße“", "", "end", ""]
    tokens = ptb_tokens(captions_)
    assert [tokens[i] for i in (0, 1, 3, 4, 5)] == ["a b c d e f g h", "", "", "end", ""]
    assert "café" in tokens[2]
    assert "straße" in tokens[2]


def test_two_thousand_captions_are_cheap_without_java(no_java):
    texts = ["A man in the middle is playing the acoustic guitar while a woman sings."] * 2560
    metric = CaptionScores("plain", meteor=False, rouge=False, cider=False)
    metric.update(texts, texts)
    metric.compute()  # the first call imports
    metric.update([], [])
    start = time.process_time()
    metric.compute()
    assert time.process_time() - start < 3  # about 0.5 s on an idle core


def load(case):
    data = json.loads(case.with_suffix(".json").read_text())
    items = data["items"]
    return data, items, [i["prediction"] for i in items], [i["references"] for i in items]


OFFICIAL = {
    **{f"BLEU-{n}": ("BLEU", n - 1) for n in range(1, 5)},
    "ROUGE-L": ("ROUGE_L", None),
    "CIDEr": ("CIDEr", None),
}


def check(values, official, names=OFFICIAL):
    for name in names:
        key, index = OFFICIAL[name]
        expected = official[key] if index is None else official[key][index]
        assert values[name] == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize("case", golden_cases("metrics/captions", "json"))
@needs_java
def test_golden_with_the_official_tokeniser(case):
    data, items, predictions, references = load(case)
    assert ptb_tokens(predictions) == [i["pred_tokens"] for i in items]
    result = score_captions(predictions, references, meteor=False)
    check(result.values, data["corpus"])
    assert result.notes == {}
    for row, item in enumerate(items):
        check({name: result.per_caption[name][row] for name in OFFICIAL}, item)
    first = score_captions(predictions, [refs[0] for refs in references], meteor=False)
    check(first.values, data["corpus_first_reference_only"])
    kept = [(p, r) for p, r, i in zip(predictions, references, items, strict=True) if i["prediction"].strip()]
    check(score_captions(*zip(*kept, strict=True), meteor=False).values, data["corpus_without_blank_predictions"])


@pytest.mark.parametrize("case", golden_cases("metrics/captions", "json"))
def test_golden_with_the_plain_tokeniser(case, no_java):
    data, items, predictions, references = load(case)
    assert plain_tokens(predictions) == [i["pred_tokens"] for i in items]
    for refs, item in zip(references, items, strict=True):
        assert plain_tokens(refs) == item["ref_tokens"]
    metric = CaptionScores()
    metric.update(predictions, references)
    check(metric.compute(), data["corpus"])
