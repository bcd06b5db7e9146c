# SPDX-License-Identifier: Apache-2.0
"""The labelling page in Chromium: two real clips from box to export, check and training; hostile texts; two people."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import tone, write_clip
from labelled import write_folder

from avkit.cli import main

for module in ("starlette", "uvicorn", "cv2"):
    pytest.importorskip(module, reason=f"{module} is not installed")

ROOT = Path(__file__).parents[1]
#: Clips, their object, its box in shares of the picture, a brush stroke on it, when it sounds, and a sentence.
DOG = ("dog.mp4", "dog", (0.34, 0.18, 0.8, 0.84), (0.55, 0.4, 0.6, 0.5), (0.5, 4.5), "a white dog plays on the floor")
MAN = ("man.mp4", "man", (0.22, 0.37, 0.4, 0.995), (0.3, 0.5, 0.32, 0.6), (0.0, 10.0), "a man speaks to a class")
#: Times that a change of the page is waited for, 50 ms each: helpers share the machine with whatever else runs on it.
PATIENCE = 2000
HOSTILE = "<img src=x onerror=alert(1)>'\"&</script>{{7*7}}"


class Server:
    """A server of a folder in a process of its own."""

    def __init__(self, folder):
        command = [sys.executable, "-m", "avkit", "annotate", str(folder), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.process.stdout.readline()
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def close(self):
        self.process.terminate()
        self.process.wait(30)


class Person:
    """Somebody with the page open."""

    def __init__(self, browser, address, name="ann", width=1280, height=800, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.tab = self.context.new_page()
        self.complaints = []
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.complaints.append("a dialog"))
        self.tab.on("console", self._note)
        self.tab.goto(address)
        self.tab.fill("#name-input", name)
        self.tab.click("#name-form button")
        self.tab.wait_for_selector("#steps button")

    def _note(self, message):
        # answers that the page shows in words, and requests that a test holds back
        if message.type == "error" and not re.search("status of 4|ERR_FAILED", message.text):
            self.complaints.append(message.text)

    def until(self, expression):
        """Wait for an expression; the page's policy forbids playwright's own way."""
        for _ in range(PATIENCE):
            if self.tab.evaluate(expression):
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"never: {expression}")

    def text(self, selector, words):
        self.until(f"document.querySelector({selector!r}).textContent.includes({json.dumps(words)})")

    def open(self, clip):
        self.tab.click(f"#clip-list button:has-text({json.dumps(clip)})")
        self.text("#clip-name", clip)

    def drag(self, selector, start, end):
        self.tab.wait_for_timeout(60)
        room = self.tab.locator(selector).bounding_box()
        places = [(room["x"] + room["width"] * x, room["y"] + room["height"] * y) for x, y in (start, end)]
        self.tab.mouse.move(*places[0])
        self.tab.mouse.down()
        self.tab.mouse.move(*places[1], steps=6)
        self.tab.mouse.up()

    def click(self, x, y, *, other=False):
        """Click on the picture at shares of its width and height; `other` with Alt."""
        room = self.tab.locator("#marks").bounding_box()
        if other:
            self.tab.keyboard.down("Alt")
        self.tab.mouse.click(room["x"] + room["width"] * x, room["y"] + room["height"] * y)
        if other:
            self.tab.keyboard.up("Alt")
        self.tab.wait_for_timeout(60)

    def polygon(self, corners, *, other=False):
        for corner in corners:
            self.click(*corner, other=other)
        self.tab.keyboard.press("Enter")
        self.saved()

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)
        self.tab.wait_for_timeout(60)
        self.saved()

    def spans(self):
        return next((item[3]["spans"] for item in self.items() if item[0] == "spans" and item[3]), [])

    def playing_time(self):
        return self.tab.evaluate("document.querySelector('#video').currentTime")

    def new_object(self, name):
        self.tab.keyboard.press("a")
        self.tab.wait_for_selector("#object-name:focus")
        self.tab.keyboard.type(name)
        self.tab.keyboard.press("Enter")

    def saved(self):
        self.text("#saved", "saved")

    def items(self):
        number = self.tab.evaluate("location.hash.slice(1)")
        return self.tab.evaluate(f"fetch('/api/clips/{number}').then(answer => answer.json())")["items"]

    def masks(self):
        return {item[2]: item[3] for item in self.items() if item[0] == "mask" and item[3]}

    def wait_masks(self, count):
        for _ in range(PATIENCE):
            masks = self.masks()
            if len(masks) >= count:
                return masks
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"{len(masks)} masks: {self.tab.inner_text('#jobs')}")


def area(mask):
    return int(np.sum(mask["runs"][1::2]))


@pytest.fixture
def shots():
    """Takes pictures into the folder that AVKIT_SHOTS names, if it does."""
    folder = os.environ.get("AVKIT_SHOTS")

    def shot(person, name):
        if folder:
            person.tab.screenshot(path=f"{folder}/{name}.png", full_page=True)

    return shot


@pytest.fixture(scope="module")
def videos(real, tmp_path_factory):
    """Two real clips."""
    folder = tmp_path_factory.mktemp("real")
    clips = real / "clips"
    shutil.copy(clips / "avsbench/single_source/p04SYXuBSQ.mp4", folder / DOG[0])
    shutil.copy(clips / "crab/-en7GAdXAQk.mp4", folder / MAN[0])
    return folder


def label_clip(person, clip, steps, shot):
    name, label, box, stroke, span, sentence = clip
    tab = person.tab
    person.open(name)
    person.new_object(label)
    tab.keyboard.press("b")
    person.drag("#marks", box[:2], box[2:])
    first = person.wait_masks(1)[0]
    assert first["proposed"] == "grabcut"
    tab.wait_for_selector("#proposal-buttons:visible")
    shot(person, f"proposed_{label}")
    tab.keyboard.press("Enter")
    person.saved()
    assert "proposed" not in person.masks()[0]
    tab.keyboard.press("t")
    person.until("document.querySelectorAll('#jobs button').length === 0 || document.querySelector('#jobs .noted')")
    followed = person.wait_masks(2)
    assert all(mask.get("proposed") == "flow" for step, mask in followed.items() if step)
    person.until("![...document.querySelectorAll('#jobs button')].some(button => button.textContent === 'Cancel')")
    shot(person, f"tracked_{label}")
    tab.keyboard.press("Shift+Enter")
    person.saved()
    for step in range(steps):  # where the tracker lost it, the mask of the step before is a start
        tab.keyboard.press("Home")
        for _ in range(step):
            tab.keyboard.press("ArrowRight")
        if step not in person.masks():
            tab.keyboard.press("p")
            person.saved()
    before = area(person.masks()[steps - 1])
    tab.keyboard.press("r")
    person.drag("#marks", stroke[:2], (0.9, 0.9))
    person.saved()
    assert area(person.masks()[steps - 1]) > before
    tab.keyboard.press("Control+z")
    tab.wait_for_timeout(200)
    person.saved()
    assert area(person.masks()[steps - 1]) == before
    person.drag("#marks", stroke[:2], stroke[2:])
    length = tab.evaluate("Number(document.querySelector('#clock').textContent.split(' ')[2])")
    person.drag("#sound", (span[0] / length, 0.3), (min(0.999, span[1] / length), 0.3))
    tab.keyboard.press("Home")
    tab.fill("#sentence", sentence)
    tab.keyboard.press("Escape")
    tab.keyboard.press("y")
    person.saved()
    tab.wait_for_selector("#gaps .ok")
    shot(person, f"labelled_{label}")


@pytest.mark.browser
def test_two_real_clips_from_box_to_training(browser, videos, tmp_path, capsys, shots):
    server = Server(videos)
    try:
        person = Person(browser, server.address)
        label_clip(person, DOG, 5, shots)
        person.tab.click("#open-export")
        person.tab.click("#export-go")
        person.text("#export-result", "1 clips")
        person.tab.click("#export-close")
        label_clip(person, MAN, 10, shots)
        person.tab.click("#open-export")
        person.tab.click("#export-go")
        person.text("#export-result", "2 clips")
        shots(person, "exported")
        assert person.complaints == []
    finally:
        server.close()
    manifest = videos / "manifest.jsonl"
    assert main(["check", str(manifest), "--allow-shared", "--tasks", "ra_ssu"]) == 0
    assert "all is there and can be read" in capsys.readouterr().out
    events = [event for line in manifest.read_text().splitlines() for event in json.loads(line)["events"]]
    spans = {event["label"]: (event["start"], event["end"]) for event in events if event["modality"] == "audio"}
    assert spans["dog"] == pytest.approx(DOG[4], abs=0.05)
    arguments = ["fit", "--tasks", "ra_ssu", "--data.dataset", "manifest", "--data.manifest", str(manifest)]
    arguments += ["--data.splits.allow_shared", "true", "--trainer.max_steps", "3", "--data.steps_per_epoch", "3"]
    arguments += ["--trainer.max_epochs", "1", "--data.loader.workers", "0", "--name", str(tmp_path / "run")]
    assert main(arguments) == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A server of two small clips, one with a hostile name."""
    folder = write_folder(tmp_path_factory.mktemp("small"), ("one.mp4", "<img src=x onerror=alert(1)>.mp4"))
    server = Server(folder)
    yield server
    server.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_hostile_texts_are_only_text(browser, small, width, height, scheme, shots):
    person = Person(browser, small.address, HOSTILE[:50], width, height, scheme)
    tab = person.tab
    if width < 1000:
        tab.click("#show-clips")
    tab.click("#clip-list button:has-text('onerror')")
    person.text("#clip-name", "onerror")
    tab.wait_for_selector("#steps button")
    if not tab.locator("#objects button").nth(1).is_visible():
        person.new_object(HOSTILE)
        tab.fill("#sentence", HOSTILE)
        tab.keyboard.press("Escape")
        tab.fill("#note", HOSTILE)
        tab.keyboard.press("Escape")
        tab.keyboard.press("s")
        person.saved()
    person.text("#objects", "onerror")
    assert HOSTILE in tab.inner_text("#lanes .text")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper, ink = tab.evaluate(
        "(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; })()"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink)]
    assert abs(lightness[0] - lightness[1]) > 450
    tab.keyboard.press("?")
    assert tab.locator("#key-list div").count() > 35
    shots(person, f"keys_{width}_{scheme}")
    tab.keyboard.press("Escape")
    assert person.complaints == []
    person.context.close()


@pytest.mark.browser
def test_two_people_do_not_overwrite_each_other_and_all_goes_by_keyboard(browser, small):
    ann = Person(browser, small.address, "ann")
    ben = Person(browser, small.address, "ben")
    for person in (ann, ben):
        person.open("one.mp4")
    ann.new_object("dog")
    ann.saved()
    ben.text("#objects", "dog")
    ben.tab.keyboard.press("1")
    # a mask by keyboard alone: brush, pointer, press, move, release
    for key in ("r", "k", "Space", *["Shift+ArrowRight"] * 2, "Space", "Escape"):
        ben.tab.keyboard.press(key)
    ben.saved()
    assert 12 * 20 < area(ben.wait_masks(1)[0]) < 12 * 34
    # both rename it while they do not know of each other
    ann.tab.route("**/news*", lambda route: route.abort())
    ben.tab.keyboard.press("i")
    ben.tab.keyboard.type("cat")
    ben.tab.keyboard.press("Enter")
    ben.saved()
    ann.tab.keyboard.press("i")
    ann.tab.keyboard.type("cow")
    ann.tab.keyboard.press("Enter")
    ann.text("#message", "ben changed this meanwhile")
    assert ann.tab.input_value("#object-name") == "cat"
    # undo takes back one's own edits alone
    ben.tab.keyboard.press("Control+z")
    ben.until("document.querySelector('#object-name').value === 'dog'")
    ben.tab.keyboard.press("Control+Shift+Z")
    ben.until("document.querySelector('#object-name').value === 'cat'")
    # spans and review
    for key in ("s", "ArrowRight", "s", "y"):
        ben.tab.keyboard.press(key)
    ben.saved()
    values = {item[0]: item[3] for item in ben.items()}
    assert values["spans"]["spans"] == [[0, 2]]
    assert values["clip"]["match"] == "yes"
    assert [*ann.complaints, *ben.complaints] == []


def rectangle(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


@pytest.mark.browser
def test_every_tool_does_what_it_says(browser, tmp_path, shots):
    folder = write_folder(tmp_path / "videos", ("one.mp4",))
    times = [k / 10 for k in range(20)]
    write_clip(folder / "two.avi", times, sound=tone(2, 16_000)[None], codec="mpeg4", sound_codec="mp3")
    server = Server(folder)
    try:
        person = Person(browser, server.address)
        tab = person.tab
        person.open("one.mp4")
        person.new_object("dog")
        # a polygon, and one that cuts out of it
        person.press("g")
        person.polygon(rectangle(0.25, 0.25, 0.75, 0.75))
        whole = area(person.masks()[0])
        assert whole == pytest.approx(32 * 24, rel=0.1)
        # the helper starts with the first job, which can be cancelled meanwhile
        place = tab.locator("#marks").bounding_box()
        person.press("t")
        tab.wait_for_selector("#jobs button:has-text('Cancel')")
        assert tab.locator("#marks").bounding_box() == place  # the picture stays under the hand that draws
        tab.click("#jobs button:has-text('Cancel')")
        number = tab.evaluate("location.hash.slice(1)")
        states = f"fetch('/api/clips/{number}/news').then(answer => answer.json()).then(news => news.jobs[0].state)"
        person.until(f"{states}.then(state => state === 'cancelled')")
        assert list(person.masks()) == [0]
        person.polygon(rectangle(0.4, 0.4, 0.6, 0.6), other=True)
        cut = area(person.masks()[0])
        assert whole - cut == pytest.approx(12.8 * 9.6, rel=0.2)
        # the eraser takes away what the brush would paint
        person.press("e")
        person.drag("#marks", (0.25, 0.3), (0.75, 0.3))
        person.saved()
        assert area(person.masks()[0]) < cut - 100
        person.press("Delete")
        assert person.masks() == {}
        # points: on the square, and beside it; a proposal is rejected and accepted by keys
        person.press("v")
        person.click(0.28, 0.5)
        person.click(0.7, 0.5, other=True)
        person.wait_masks(1)
        shots(person, "points")
        person.until("![...document.querySelectorAll('#jobs button')].some(button => button.textContent === 'Cancel')")
        proposed = person.masks()[0]
        assert proposed["proposed"] == "grabcut"
        assert area(proposed) == pytest.approx(16 * 16, rel=0.3)
        person.press("End", "j")
        person.text("#step-number", "step 1 of")
        person.press("Delete")
        assert person.masks() == {}
        # a span, its end dragged, then moved to the playhead by keys, and deleted
        person.drag("#sound", (0.1, 0.3), (0.5, 0.3))
        person.saved()
        assert person.spans()[0] == pytest.approx([0.3, 1.5], abs=0.06)
        end = tab.locator("#spans .span .end").bounding_box()
        sound = tab.locator("#sound").bounding_box()
        tab.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2)
        tab.mouse.down()
        tab.mouse.move(sound["x"] + 0.9 * sound["width"], end["y"] + end["height"] / 2, steps=5)
        tab.mouse.up()
        person.saved()
        assert person.spans()[0] == pytest.approx([0.3, 2.7], abs=0.1)
        shots(person, "span")
        person.press("Home", "{", "End", "Control+ArrowRight", "}")
        assert person.spans() == [[0.5, 2.55]]
        person.press("Shift+S")
        assert person.spans() == []
        # the colour, and the object itself
        before = tab.input_value("#object-colour")
        person.press("Shift+C")
        assert tab.input_value("#object-colour") != before
        person.press("Shift+Delete")
        assert [item for item in person.items() if item[0] == "object" and item[3]] == []
        tab.keyboard.press("q")
        assert tab.evaluate("document.activeElement.id") == "note"
        tab.keyboard.press("Escape")
        # it is played with its sound, and so is the copy of a video that browsers cannot play
        for name in ("one.mp4", "two.avi"):
            person.open(name)
            person.until("document.querySelector('#video').readyState > 1")
            start = person.playing_time()
            tab.keyboard.press("Space")
            person.until(f"document.querySelector('#video').currentTime > {start + 0.4}")
            assert tab.evaluate("document.querySelector('#video').webkitAudioDecodedByteCount") > 0
            tab.keyboard.press("Home")
            assert tab.evaluate("document.querySelector('#video').paused")
        tab.keyboard.press("Shift+E")
        tab.wait_for_selector("#export-dialog[open]")
        assert person.complaints == []
    finally:
        server.close()


@pytest.mark.browser
def test_edits_wait_while_the_server_is_away(browser, tmp_path):
    folder = write_folder(tmp_path / "videos", ("one.mp4",))
    server = Server(folder)
    try:
        person = Person(browser, server.address)
        person.tab.route("**/edit", lambda route: route.abort())
        person.tab.keyboard.press("a")
        person.text("#saved", "no answer")
        person.tab.unroute("**/edit")
        person.text("#saved", "saved")
        assert person.items()[0][0] == "object"
    finally:
        server.close()
