# SPDX-License-Identifier: Apache-2.0
"""The labelling server: who may use it, edits of two people, helpers, copies, two servers on one folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

from clips import tone, write_clip  # noqa: E402
from labelled import opened, square, write_folder  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from avkit.annotation.copies import Copies  # noqa: E402
from avkit.annotation.helpers import HelperChoice  # noqa: E402
from avkit.annotation.server import Application  # noqa: E402
from avkit.annotation.values import read_mask  # noqa: E402
from avkit.errors import MediaError  # noqa: E402

HEADERS = {"x-avkit-annotate": "1", "origin": "http://127.0.0.1:8765"}
CHOICES = {
    "masks": HelperChoice("masks", "grabcut"),
    "tracker": HelperChoice("tracker", "flow"),
    "names": HelperChoice("names", "none"),
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    root = write_folder(tmp_path_factory.mktemp("videos"), ("one.mp4", "two.mp4"))
    times = [k / 10 for k in range(20)]
    write_clip(root / "old.avi", times, sound=tone(2, 16_000)[None], codec="mpeg4", sound_codec="mp3")
    (root / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def application(media, tmp_path_factory):
    folder = opened(media, work=tmp_path_factory.mktemp("work"))
    application = Application(folder, CHOICES)
    yield application
    application.close()
    folder.close()


@pytest.fixture
def client(application):
    return TestClient(application.guarded("127.0.0.1", 8765, None), base_url="http://127.0.0.1:8765")


def numbers(client):
    return {clip["name"]: clip["number"] for clip in client.get("/api/folder").json()["clips"]}


def post(client, path, **body):
    return client.post(path, json={"author": "ann", **body}, headers=HEADERS)


def edit(client, clip, *changes, author="ann"):
    return client.post(f"/api/clips/{clip}/edit", json={"author": author, "changes": changes}, headers=HEADERS)


def wait(client, clip, job):
    for _ in range(300):
        news = client.get(f"/api/clips/{clip}/news").json()
        (state,) = [entry for entry in news["jobs"] if entry["number"] == job]
        if state["state"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def test_the_page_comes_with_a_policy_and_only_its_own_files(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?! type=\"module\" src)|style=|onclick", page.text)
    for name in set(re.findall(r'(?:src|href)="/?page/([^"]+)"', page.text)):
        assert client.get(f"/page/{name}").status_code == 200
    for name in ("..%2f__init__.py", "%2e%2e/values.py", "__init__.py", "labels.sqlite", "nothing.js"):
        assert client.get(f"/page/{name}").status_code == 404


def test_the_folder_and_a_clip_are_shown(client):
    folder = client.get("/api/folder").json()
    assert [clip["state"] for clip in folder["clips"]] == ["new"] * 4
    assert folder["helpers"]["masks"] == "grabcut"
    clip = client.get(f"/api/clips/{numbers(client)['one.mp4']}").json()
    assert (clip["steps"], clip["size"], clip["video"]) == (3, [48, 64], "ready")
    assert client.get("/api/clips/999").status_code == 400
    broken = client.get(f"/api/clips/{numbers(client)['broken.mp4']}")
    assert broken.status_code == 400
    assert "is not a media file" in broken.json()["error"]


def test_pictures_sound_and_parts_of_the_video(client):
    clip = numbers(client)["one.mp4"]
    assert client.get(f"/api/clips/{clip}/frames/2").content[:2] == b"\xff\xd8"
    assert client.get(f"/api/clips/{clip}/frames/3").status_code == 422
    peaks = client.get(f"/api/clips/{clip}/peaks?columns=50").json()
    assert len(peaks) == 50
    assert 0.3 < peaks[25][1] < 0.5
    assert client.get(f"/api/clips/{clip}/peaks?columns=-1").status_code == 422
    assert client.get(f"/api/clips/{clip}/spectrogram").content[:4] == b"\x89PNG"
    part = client.get(f"/api/clips/{clip}/video", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_a_video_that_browsers_cannot_play_is_copied_and_stays_as_it_is(client, media):
    before = (media / "old.avi").read_bytes()
    clip = numbers(client)["old.avi"]
    state = client.get(f"/api/clips/{clip}").json()["video"]
    for _ in range(100):
        if state != "making":
            break
        time.sleep(0.05)
        state = client.get(f"/api/clips/{clip}/news").json()["video"]
    assert state == "ready"
    assert client.get(f"/api/clips/{clip}/video").content[4:8] == b"ftyp"
    assert (media / "old.avi").read_bytes() == before


def settled(copies, clip, **options):
    for _ in range(300):
        state = copies.state(clip, **options)
        if state != "making":
            return state
        options = {}
        time.sleep(0.02)
    raise AssertionError("it is still being made")


def test_a_copy_that_failed_is_made_again_when_wanted_or_when_the_video_is_another(media, tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    video = Path(shutil.copy(media / "old.avi", tmp_path / "videos"))
    folder = opened(tmp_path / "videos")
    copies = Copies(folder)
    (clip,) = folder.clips.values()
    calls = []

    def fail(path, copy):
        calls.append(path)
        raise MediaError("no encoder")

    with monkeypatch.context() as patch:
        patch.setattr("avkit.annotation.copies.make_playable", fail)
        assert settled(copies, clip) == settled(copies, clip) == "no encoder"
        assert len(calls) == 1
        assert settled(copies, clip, wanted=True) == "no encoder"
        assert len(calls) == 2
    os.utime(video, (4e9, 4e9))  # of a clock that is ahead
    assert settled(copies, clip) == "ready"
    made = copies.path(clip).stat().st_mtime_ns
    assert copies.path(clip) != video
    assert settled(copies, clip) == "ready"
    assert copies.path(clip).stat().st_mtime_ns == made
    os.utime(video, (1e9, 1e9))  # an older video in its place
    assert copies.path(clip) == video
    assert settled(copies, clip) == "ready"
    assert copies.path(clip).stat().st_mtime_ns > made
    copies.close()
    folder.close()


def test_an_edit_that_is_out_of_date_is_refused_with_what_is_there(client):
    clip = numbers(client)["two.mp4"]
    thing = {"name": "<b>dog</b>", "colour": "#112233"}
    (item,) = edit(client, clip, ["object", -1, 0, thing, 0]).json()["items"]
    assert item[:5] == ["object", 1, 0, thing, 1]
    assert edit(client, clip, ["object", 1, 0, {**thing, "name": "cat"}, 1], author="ben").status_code == 200
    stale = edit(client, clip, ["object", 1, 0, {**thing, "name": "cow"}, 1])
    assert stale.status_code == 409
    assert stale.json()["error"].startswith("ben changed this meanwhile")
    assert stale.json()["items"][0][3]["name"] == "cat"
    assert post(client, f"/api/clips/{clip}/undo").status_code == 409
    news = client.get(f"/api/clips/{clip}/news?since=1").json()
    assert news["items"][0][3]["name"] == "cat"
    assert news["state"]["state"] == "half"


def test_bad_requests_are_answered_in_words(client):
    clip = numbers(client)["two.mp4"]
    for body, text in (
        (b"{", "is no whole JSON"),
        (b"[]", "no object of JSON"),
        (b'{"author": ""}', "type your name"),
        (b'{"author": "a", "changes": 3}', "changes is a list"),
        (b'{"author": "a", "changes": [["object", 1]]}', "A change is a list of"),
        (b'{"author": "a", "changes": [["object", 1, 0, {}, null]]}', "base is None"),
        (b'{"author": "a", "changes": [["object", 1.5, 0, {}, 1]]}', "names no item"),
        (b'{"author": "a", "changes": []}', "at least one change"),
        (b"\xff", "not UTF-8"),
        (b'{"author": "a", "changes": ' + b"[" * 5000 + b"]" * 5000 + b"}", "usable JSON"),
    ):
        headers = {**HEADERS, "content-type": "application/json"}
        answer = client.post(f"/api/clips/{clip}/edit", content=body, headers=headers)
        assert answer.status_code in (400, 422)
        assert text in answer.json()["error"], body[:60]


def test_a_disk_that_refuses_an_edit_has_it_sent_again(application, client, monkeypatch):
    clip = numbers(client)["two.mp4"]
    database = application.folder.store._db
    (limit,) = database.execute("PRAGMA max_page_count").fetchone()
    try:
        database.execute("PRAGMA max_page_count = 1")  # as a full disk does
        full = edit(client, clip, ["clip", 0, 0, {"match": None, "note": "x " * 900}, 0])
        while full.status_code == 200:
            (item,) = full.json()["items"]
            note = {"match": None, "note": f"{item[4]} " * 300}
            full = edit(client, clip, ["clip", 0, 0, note, item[4]])
    finally:
        database.execute(f"PRAGMA max_page_count = {limit}")
    assert full.status_code == 507
    assert "was not changed: database or disk is full. Free space" in full.json()["error"]


def state_of(client, name):
    return next(clip["state"] for clip in client.get("/api/folder").json()["clips"] if clip["name"] == name)


def test_a_video_that_is_gone_is_said(client, media):
    thing = {"name": "dog", "colour": "#112233"}
    assert edit(client, numbers(client)["two.mp4"], ["object", -1, 0, thing, 0]).status_code == 200
    path = media / "gone.mp4"
    (media / "two.mp4").rename(path)
    try:
        for name in ("", "/video", "/frames/0", "/peaks"):
            gone = client.get(f"/api/clips/{numbers(client)['two.mp4']}{name}")
            assert gone.status_code == 400
            assert "two.mp4" in gone.json()["error"]
        assert state_of(client, "two.mp4") == "broken"
    finally:
        path.rename(media / "two.mp4")
    assert state_of(client, "two.mp4") == "half"


def test_other_sites_are_kept_out(application, client):
    url = f"/api/clips/{numbers(client)['one.mp4']}/undo"
    body = {"author": "ann"}
    assert client.post(url, json=body).status_code == 403  # no header of the page
    assert client.post(url, json=body, headers={**HEADERS, "origin": "http://evil.example"}).status_code == 403
    assert client.post(url, json=body, headers={**HEADERS, "origin": "null"}).status_code == 403
    assert client.post(url, json=body, headers={**HEADERS, "sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post(url, data=body, headers=HEADERS).status_code == 403  # a form
    assert client.get("/api/folder", headers={"host": "evil.example:8765"}).status_code == 403
    assert client.get("/api/folder", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    for host in ("[", "[::1", "::1]:x", ""):
        assert client.get("/api/folder", headers={"host": host}).status_code == 403, host
    assert client.post(url, json=body, headers={**HEADERS, "origin": "http://["}).status_code == 403
    assert client.get("/api/folder", headers={"content-length": "many"}).status_code == 413
    assert client.post(url, json=body, headers=HEADERS).status_code == 200
    long = client.post(url, content=b"1", headers={**HEADERS, "content-length": str(10**9)})
    assert long.status_code in (403, 413)


def test_other_addresses_need_the_token(application):
    guard = application.guarded("0.0.0.0", 8765, "secret")
    client = TestClient(guard, base_url="http://192.0.2.7:8765", follow_redirects=False)
    assert client.get("/api/folder").status_code == 403
    assert client.get("/?token=wrong").status_code == 403
    opened_page = client.get("/?token=secret")
    assert opened_page.status_code == 303
    assert "HttpOnly; SameSite=Strict" in opened_page.headers["set-cookie"]
    assert client.get("/api/folder").status_code == 200  # by the cookie


def test_a_request_is_no_longer_than_it_says(application, client, monkeypatch):
    monkeypatch.setattr("avkit.annotation.security.MAX_BODY", 1000)
    url = f"/api/clips/{numbers(client)['one.mp4']}/undo"
    headers = {**HEADERS, "content-type": "application/json"}
    for parts, status in ((20, 413), (5, 400)):
        sent = client.post(
            url, content=(b" " * 100 for _ in range(parts)), headers=headers
        )  # in parts, without a length
        assert sent.status_code == status
    assert client.post(url, content=b" " * 2000, headers=headers).status_code == 413


def test_a_box_becomes_a_mask_which_is_followed_and_stays_a_proposal(client):
    clip = numbers(client)["one.mp4"]
    edit(client, clip, ["object", -1, 0, {"name": "dog", "colour": "#112233"}, 0])
    wish = {"object": 1, "step": 0, "box": [4, 10, 34, 38]}
    job = post(client, f"/api/clips/{clip}/jobs", task="masks", **wish).json()
    assert wait(client, clip, job["number"])["proposals"] == 1
    job = post(client, f"/api/clips/{clip}/jobs", task="tracker", object=1, step=0, last=2).json()
    state = wait(client, clip, job["number"])
    assert (state["state"], state["note"], state["proposals"]) == ("done", "", 2)
    items = client.get(f"/api/clips/{clip}").json()["items"]
    masks = {item[2]: item[3] for item in items if item[0] == "mask"}
    for step, helper in ((0, "grabcut"), (1, "flow"), (2, "flow")):
        mask, want = read_mask(masks[step]), square(step + 0.5)
        assert (mask & want).sum() / (mask | want).sum() > 0.8
        assert masks[step]["proposed"] == helper
    assert "3 proposals wait" in client.get(f"/api/clips/{clip}/news").json()["state"]["gaps"][1]
    assert post(client, "/api/export", format="avkit").status_code == 400
    # the tracker's masks are undone together
    assert len(post(client, f"/api/clips/{clip}/undo").json()["items"]) == 2
    # and it stops at a mask of a person's
    accepted = {key: value for key, value in masks[0].items() if key != "proposed"}
    edit(client, clip, ["mask", 1, 1, accepted, 2])
    job = post(client, f"/api/clips/{clip}/jobs", task="tracker", object=1, step=0, last=2).json()
    assert "Step 2 has a mask that a person accepted" in wait(client, clip, job["number"])["note"]


def test_helpers_say_what_they_lack(client):
    clip = numbers(client)["one.mp4"]
    none = post(client, f"/api/clips/{clip}/jobs", task="names")
    assert none.status_code == 422
    assert "Start avkit annotate with --names NAME" in none.json()["error"]
    job = post(client, f"/api/clips/{clip}/jobs", task="masks", object=1, step=0).json()
    assert "Draw a box" in wait(client, clip, job["number"])["note"]
    bad = post(client, f"/api/clips/{clip}/jobs", task="masks", object=1, box=[1, 2, 3])
    assert "is no list of 4 numbers" in bad.json()["error"]


def test_a_tracker_that_loses_its_object_says_so_and_stops(media, tmp_path):
    import numpy as np
    from labelled import write_square

    from avkit.annotation.helpers import Request
    from avkit.annotation.helpers.opencv import OpticalFlow
    from avkit.annotation.values import mask_value
    from avkit.media.decode import read_frames, write_video

    path = write_square(tmp_path / "long.mp4", seconds=4)
    frames = read_frames(path, rate=5.0).permute(0, 2, 3, 1).numpy()
    frames[10:] = np.random.default_rng(1).integers(0, 255, frames.shape[1:])  # a cut to something else
    write_video(tmp_path / "cut.mp4", list(frames), 5)
    request = Request(tmp_path / "cut.mp4", 1.0, 4, 4.0, (48, 64), 1, step=0, last=3, mask=mask_value(square(0.5)))
    proposals = list(OpticalFlow(CHOICES["tracker"]).propose(request))
    assert [len(proposal.values) for proposal in proposals] == [1, 0]
    assert proposals[-1].note.startswith("The tracker lost the object in step 3: ")


def test_a_job_can_be_cancelled_and_the_page_goes_on(application, client, monkeypatch):
    clip = numbers(client)["one.mp4"]
    first = post(client, f"/api/clips/{clip}/jobs", task="tracker", object=1, step=0, last=2).json()
    second = post(client, f"/api/clips/{clip}/jobs", task="masks", object=1, step=0, box=[4, 10, 34, 38]).json()
    post(client, f"/api/jobs/{second['number']}/cancel")
    assert wait(client, clip, second["number"])["state"] == "cancelled"
    assert wait(client, clip, first["number"])["state"] == "done"
    assert post(client, "/api/jobs/999/cancel").status_code == 422
    process = application.jobs.jobs._process
    process.kill()  # as a machine without memory does
    third = post(client, f"/api/clips/{clip}/jobs", task="masks", object=1, step=0, box=[4, 10, 34, 38]).json()
    assert wait(client, clip, third["number"])["state"] in ("done", "failed")
    # one that runs, while its process starts again
    if application.jobs.jobs._process is not None:
        application.jobs.jobs._process.kill()
        application.jobs.jobs._process.join()
    fourth = post(client, f"/api/clips/{clip}/jobs", task="masks", object=1, step=0, box=[4, 10, 34, 38]).json()
    for _ in range(200):
        if application.jobs.jobs.jobs[fourth["number"]].state != "waiting":
            break
        time.sleep(0.005)
    assert post(client, f"/api/jobs/{fourth['number']}/cancel").json()["state"] == "running"
    assert wait(client, clip, fourth["number"])["state"] == "cancelled"
    fifth = post(client, f"/api/clips/{clip}/jobs", task="masks", object=1, step=0, box=[4, 10, 34, 38]).json()
    assert wait(client, clip, fifth["number"])["state"] == "done"


def start(media, work, *more):
    command = [sys.executable, "-m", "avkit", "annotate", str(media), "--work", str(work), "--port", "0", *more]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    process.stdout.readline()
    line = process.stdout.readline()
    address = re.search(r"http://\S+", line)
    return process, address and address[0]


def test_other_machines_are_served_with_a_token_alone(media, tmp_path):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    process, address = start(media, tmp_path / "work", "--host", "0.0.0.0")
    try:
        assert re.fullmatch(r"http://0\.0\.0\.0:\d+/\?token=[\w-]{20,}", address)
        bare, _, token = address.replace("0.0.0.0", "127.0.0.1").partition("?")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{bare}api/folder")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{bare}?{token}x")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"avkit annotate" in browser.open(f"{bare}?{token}").read()
        assert len(json.load(browser.open(f"{bare}api/folder"))["clips"]) == 4
    finally:
        process.terminate()
        process.wait(30)


def test_a_served_folder_is_not_served_twice_and_loses_nothing_when_killed(media, tmp_path):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    first, address = start(media, tmp_path / "work")
    try:
        second, none = start(media, tmp_path / "work")
        assert none is None
        assert second.wait(60) == 2
        error = second.stderr.read()
        assert "is already open for labelling, by process" in error
        assert error.count("\n") == 1
        folder = json.load(urllib.request.urlopen(f"{address}api/folder"))
        (clip,) = [entry["number"] for entry in folder["clips"] if entry["name"] == "one.mp4"]
        body = {"author": "ann", "changes": [["object", -1, 0, {"name": "dog", "colour": "#112233"}, 0]]}
        headers = {"x-avkit-annotate": "1", "content-type": "application/json"}
        request = urllib.request.Request(f"{address}api/clips/{clip}/edit", json.dumps(body).encode(), headers)
        assert urllib.request.urlopen(request).status == 200
    finally:
        first.kill()
        first.wait()
    folder = opened(media, work=tmp_path / "work")  # the lock went with the process
    (item,) = folder.store.items(clip)
    folder.close()
    assert item.value["name"] == "dog"
