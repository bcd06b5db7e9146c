"""A result in a notebook, as figure, record and table."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from test_fit import fit, write_clip

import avkit
from avkit.answers import Caption, Choice, Events, Mask
from avkit.errors import AvkitError
from avkit.inference.clip_result import ClipResult
from avkit.reading.checksums import KEY


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """A result of an untrained run about a clip with a hostile name."""
    folder = tmp_path_factory.mktemp("notebook")
    assert fit(folder, "run", "--trainer.max_epochs", "1", "--report", "false", tasks="avs,avqa") == 0
    clip = write_clip(folder / "<b>clip.mp4", seconds=3)
    return avkit.predict(folder / "run", clip, question="how many things are seen", device="cpu")


def test_it_says_in_one_line_what_it_is(predicted):
    assert (
        repr(predicted)
        == f"<ClipResult of <b>clip.mp4: 3 s, 3 steps of 1 s; {len(predicted.answers)} answers of avs, avqa>"
    )


def test_a_notebook_shows_pictures_answers_and_the_time_line(predicted):
    page = predicted._repr_html_()
    images = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "img":
                images.append(dict(attributes)["src"])

    Parser().feed(page)
    assert len(images) == 4
    assert all(source.startswith("data:image/") for source in images)
    assert "<b>clip" not in page
    assert "&lt;b&gt;clip.mp4" in page
    assert f"how many things are seen: {predicted.first(Choice).answer}" in page


def test_a_figure_has_the_pictures_above_the_time_line(predicted):
    figure = predicted.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["0 s", "1 s", "2 s", ""]


def test_a_result_without_pictures_has_a_time_line():
    result = ClipResult(source="a.wav", duration=2.0, hop=1.0, tasks=["ave"], waveform=np.zeros(32_000, np.float32))
    assert len(result.plot().axes) == 1
    assert "<img" in result._repr_html_()


def test_a_record_is_what_result_json_holds(predicted, tmp_path):
    predicted.save(tmp_path / "out", video=False)
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    saved.pop(KEY)
    assert predicted.to_dict() == saved


def test_tables(predicted):
    pandas = pytest.importorskip("pandas")
    steps = predicted.to_dataframe()
    assert isinstance(steps, pandas.DataFrame)
    assert steps["start"].tolist() == [0, 1, 2]
    assert predicted.to_dataframe("answers")["question"].tolist() == ["how many things are seen"]
    with pytest.raises(ValueError, match="Did you mean 'events'"):
        predicted.to_dataframe("event")


def test_without_pandas_the_error_says_how_to_get_it(predicted, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(AvkitError, match="pip install pandas"):
        predicted.to_dataframe()


def test_kinds_of_answers_are_found_by_class(predicted):
    assert len(predicted.of(Mask)) == 1
    assert predicted.of(Caption) == predicted.of(Events) == []
