# SPDX-License-Identifier: Apache-2.0
"""The page served by Gradio: which files it gives away, and in a browser what a newcomer does with it."""

import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
from clips import tone, write_clip
from demo_models import random_run

from avkit.cli.listening import listen
from avkit.demo.answering import Answerer
from avkit.demo.clip_check import Limits
from avkit.demo.work_folder import WorkFolder

pytest.importorskip("gradio", reason="gradio is not installed: pip install 'avkit[demo]'")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

#: Where browsers are, beside those that playwright brings.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Seconds that a browser waits for an answer, on a machine that does other things too.
PATIENCE = 120_000


class Served:
    """A page in a thread of this process."""

    def __init__(self, predictor, parent, limits):
        from avkit.demo.server import make_application

        self.work = WorkFolder(parent)
        self.listener = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.errors = []
        answerer = Answerer(predictor, self.work, limits)
        application = make_application(answerer, "drawn", self.port, 4, lambda error: self.errors.append(error) or "x")
        config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        while not self.server.started and self.thread.is_alive():
            time.sleep(0.05)
        self.client = httpx.Client(base_url=self.address, timeout=60)

    def upload(self, name, content):
        answered = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        return answered.json()[0] if answered.status_code == 200 else answered

    def close(self):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(10)
        self.listener.close()
        self.work.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    variables = ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "HF_HUB_DISABLE_TELEMETRY")
    before = {name: os.environ.get(name) for name in variables}
    page = Served(random_run("ra_ssu,avs,avqa,davel"), tmp_path_factory.mktemp("work"), Limits(megabytes=5, seconds=30))
    yield page
    page.close()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "bells.mp4"
    return write_clip(path, [k / 5 for k in range(20)], fps=5, sound=tone(4, 16_000)[None])


# --- what the server gives away ---------------------------------------------------------------------------------------


def test_the_page_is_served_and_names_no_other_place(served):
    answered = served.client.get("/")
    assert answered.status_code == 200
    assert "only drawn shapes" in answered.text
    assert "fonts.googleapis" not in answered.text
    assert "connect-src 'self'" in answered.headers["content-security-policy"]
    config = served.client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config.get("footer_links", []) == []


def files_outside(served):
    secret = served.work.root.parent / "secret.txt"
    secret.write_text("SECRET")
    inside = served.work.root / "secret.json"
    inside.write_text("SECRET")
    (served.work.uploads / "link").unlink(missing_ok=True)
    (served.work.uploads / "link").symlink_to(secret)
    uploads = served.work.uploads
    return [
        *(secret, inside, "/etc/hostname", Path(__file__), Path.cwd() / "pyproject.toml"),
        *(f"{uploads}/../../secret.txt", f"{uploads}/../secret.json", f"{uploads}/link", f"{uploads}/./../secret.json"),
        *("pyproject.toml", "../secret.txt", "http://127.0.0.1:9/x", "https://example.com/x", f"file://{secret}"),
    ]


@pytest.mark.parametrize("encode", [str, lambda path: str(path).replace("/", "%2F").replace(".", "%2e")], ids=["", "%"])
def test_no_file_of_this_machine_is_served(served, encode):
    for route in ("/gradio_api/file=", "/file=", "/file/", "/gradio_api/file/", "/avkit/answers/x/", "/static/", "/"):
        for path in files_outside(served):
            answered = served.client.get(f"{route}{encode(path)}", follow_redirects=True)
            assert "SECRET" not in answered.text, (route, path)
            assert "[project]" not in answered.text
            if route == "/gradio_api/file=":
                assert answered.status_code == 403, (route, path)


def test_an_upload_is_served_until_it_is_used(served, video):
    path = served.upload("a.mp4", video.read_bytes())
    assert Path(path).is_relative_to(served.work.uploads)
    assert served.client.get(f"/gradio_api/file={path}").content == video.read_bytes()


def test_a_name_cannot_lead_elsewhere(served):
    for name in (
        "../../../evil.mp4",
        "/tmp/evil.mp4",
        "..\\evil.mp4",
        "a\r\nb.mp4",
        "<script>.mp4",
        "x" * 300 + ".mp4",
    ):
        path = served.upload(name, b"words")
        if isinstance(path, str):
            assert Path(path).resolve().is_relative_to(served.work.uploads), name


def test_a_file_that_is_too_large_is_refused(served):
    answered = served.upload("a.mp4", b"0" * 5_100_000)
    assert answered.status_code == 413
    assert not list(served.work.uploads.rglob("a.mp4")) or all(
        path.stat().st_size <= 5_000_000 for path in served.work.uploads.rglob("a.mp4")
    )


FILE = {"_type": "gradio.FileData"}


def ask(served, video, tasks=("avs",)):
    """What the server says to a request: its refusal, or the last words of the page."""
    config = served.client.get("/config").json()
    [event] = [entry for entry in config["dependencies"] if entry["backend_fn"] and entry["targets"][0][1] == "click"]
    data = [video, list(tasks), "", False, False, False]
    request = {"data": data, "fn_index": event["id"], "session_hash": "s" + os.urandom(4).hex()}
    joined = served.client.post("/gradio_api/queue/join", json=request)
    if joined.status_code != 200:
        return joined.text
    session = {"session_hash": request["session_hash"]}
    said = ""
    with served.client.stream("GET", "/gradio_api/queue/data", params=session) as events:
        for line in events.iter_lines():
            said = line or said
            if "process_completed" in line:
                break
    return said


def test_a_request_may_name_an_upload(served, video):
    def upload():
        return {"path": served.upload("a.mp4", video.read_bytes()), "orig_name": "<b>.mp4", "meta": FILE}

    sent = upload()
    said = ask(served, sent)
    assert "result.json" in said, said
    assert "<b>.mp4" not in said
    assert "not here any more" in ask(served, sent)
    assert "Did you mean" in ask(served, upload(), ["avz"])
    assert not list(served.work.uploads.rglob("a.mp4")), "refused ones are deleted too"


def test_a_request_cannot_name_another_file_or_an_address(served, monkeypatch):
    fetched = []
    monkeypatch.setattr("gradio.processing_utils.save_url_to_cache", lambda *args, **rest: fetched.append(args))
    before = list(served.work.answers.iterdir())
    uploads = served.work.uploads
    for path in ("/etc/hostname", str(Path(__file__)), "http://127.0.0.1:9/a.mp4", f"{uploads}/../x", "x.mp4", 5, {}):
        for video in ({"path": path, "meta": FILE}, {"video": {"path": path, "meta": FILE}}, [{"path": path}]):
            assert "no other files" in ask(served, video), path
    assert not fetched
    assert list(served.work.answers.iterdir()) == before
    for body in (b"{", b"[" * 100_000, b"0" * 1_100_000):
        assert served.client.post("/gradio_api/queue/join", content=body).status_code == 403


def test_other_sites_are_refused(served):
    assert served.client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert served.client.get("/", headers={"origin": "http://evil.example"}).status_code == 403
    sent = served.client.post("/gradio_api/upload", headers={"sec-fetch-site": "cross-site"}, files={"files": b"x"})
    assert sent.status_code == 403
    assert served.client.get("/gradio_api/proxy=https://example.com/").status_code == 403


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("AVKIT_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as started:
        if path is None and not Path(started.chromium.executable_path).exists():
            pytest.skip("there is no Chromium")
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        opened = started.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser, served, request):
    """A tab with the page, at a width and in a colour scheme; it may reach no other place."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append("a dialog"))
    own = (served.address, "blob:", "data:")
    page.on("request", lambda sent: None if sent.url.startswith(own) else complaints.append(sent.url))
    page.set_default_timeout(PATIENCE)
    page.goto(served.address)
    page.wait_for_selector("#avkit-ask")
    yield page
    context.close()
    assert complaints == []


def drop(tab, path):
    tab.set_input_files("#avkit-clip input[type=file]", str(path))
    tab.wait_for_selector("#avkit-clip video")


def press(tab):
    tab.click("#avkit-ask")
    tab.wait_for_selector(".avkit-answer video.main, .avkit-error")


def cursor(tab):
    """Where the cursor is, in seconds by the picture's axis."""
    return tab.evaluate(
        """() => {
          const answer = document.querySelector('.avkit-answer');
          const left = +answer.dataset.left, right = +answer.dataset.right;
          const line = answer.querySelector('.timeline').getBoundingClientRect();
          const x = answer.querySelector('.cursor').getBoundingClientRect();
          return ((x.left + x.width / 2 - line.left) / line.width - left) / (right - left) * +answer.dataset.duration;
        }"""
    )


def playing(tab):
    return tab.evaluate("document.querySelector('video.main').currentTime")


@pytest.mark.browser
def test_a_dropped_video_is_answered_and_the_time_line_follows(tab, served, video):
    drop(tab, video)
    tab.fill("#avkit-questions textarea", "how many things make a sound")
    press(tab)
    assert tab.locator(".avkit-answer h2.first").inner_text() == "bells.mp4"
    assert "how many things" in tab.locator(".avkit-answer").inner_text()
    assert not list(served.work.uploads.rglob("bells.mp4")), "the upload is deleted"
    tab.wait_for_function("document.querySelector('video.main').readyState >= 2")
    # a click on the time line moves both players
    line = tab.locator(".timeline")
    box = line.bounding_box()
    line.click(position={"x": box["width"] * (0.105 + 0.5 * 0.88), "y": 20})
    assert playing(tab) == pytest.approx(2.0, abs=0.1)
    assert cursor(tab) == pytest.approx(2.0, abs=0.1)
    assert tab.evaluate("document.querySelector('video.silent').currentTime") == pytest.approx(2.0, abs=0.1)
    # arrow keys go by steps
    line.press("ArrowLeft")
    assert playing(tab) == pytest.approx(1.0, abs=0.1)
    line.press("Home")
    assert cursor(tab) == pytest.approx(0.0, abs=0.05)
    # playing moves the cursor, and the silent player
    tab.evaluate("() => { const v = document.querySelector('video.main'); v.muted = true; return v.play(); }")
    tab.wait_for_function("document.querySelector('video.main').currentTime > 1")
    tab.evaluate("document.querySelector('video.main').pause()")
    tab.wait_for_timeout(300)
    assert playing(tab) > 1
    assert cursor(tab) == pytest.approx(playing(tab), abs=0.1)
    assert tab.evaluate("document.querySelector('video.silent').currentTime") == pytest.approx(playing(tab), abs=0.5)
    assert tab.evaluate("document.querySelector('video.silent').muted") is True
    # a row of a table is a place in the video
    rows = tab.locator(".avkit-answer tr[data-start]")
    rows.first.click()
    assert playing(tab) == pytest.approx(float(rows.first.get_attribute("data-start")), abs=0.1)
    assert "now" in (rows.first.get_attribute("class") or "")


@pytest.mark.browser
def test_the_same_video_is_asked_again_and_files_are_downloaded(tab, served, video):
    drop(tab, video)
    press(tab)
    with tab.expect_download() as started:
        tab.get_by_role("link", name="result.json").click()
    record = json.loads(Path(started.value.path()).read_text())
    assert record["source"] == "bells.mp4"
    with tab.expect_download() as started:
        tab.get_by_role("link", name="overlay.mp4").click()
    assert b"ftyp" in Path(started.value.path()).read_bytes()[:12]
    first = tab.locator("video.main").get_attribute("src")
    tab.uncheck("#avkit-silence input")
    tab.click("#avkit-ask")
    tab.wait_for_function("(first) => document.querySelector('video.main')?.getAttribute('src') !== first", arg=first)
    tab.wait_for_selector(".avkit-answer video.main, .avkit-error")
    assert tab.locator(".avkit-error").count() == 0
    assert tab.locator("video.silent").count() == 0
    assert served.client.get(f"/{first}").status_code == 404, "the earlier answer is deleted"


@pytest.mark.browser
def test_what_is_no_video_gets_a_clear_line(tab, tmp_path):
    tab.click("#avkit-ask")
    assert "There is no video yet" in tab.locator(".avkit-error").inner_text()
    notes = tmp_path / "notes.txt"
    notes.write_text("words\n" * 100)
    tab.set_input_files("#avkit-clip input[type=file]", str(notes))
    tab.wait_for_selector("text=Invalid file type")
    tab.reload()
    renamed = tmp_path / "notes'\"&.mp4"
    renamed.write_text("words\n" * 100)
    tab.wait_for_selector("#avkit-ask")
    tab.set_input_files("#avkit-clip input[type=file]", str(renamed))
    tab.wait_for_selector("#avkit-clip button[aria-label=Clear]")
    press(tab)
    line = tab.locator(".avkit-error").inner_text()
    assert re.search(r"notes.*mp4", line)
    assert "/" not in line.replace("and/or", ""), "no path of this machine"
    assert "\n" not in line


@pytest.mark.browser
def test_a_recorded_video_is_answered(tab):
    tab.click("#avkit-clip button[aria-label='Capture from camera']")
    tab.get_by_text("Click to Access Webcam").click()
    # a recorder that starts before the camera, or is stopped at once on a busy machine, gives an empty file
    tab.wait_for_function("document.querySelector('#avkit-clip video')?.currentTime > 1")
    tab.locator("#avkit-clip button:has-text('Record')").first.click()
    tab.wait_for_selector("#avkit-clip button:has-text('Stop')")
    tab.wait_for_timeout(6000)
    tab.locator("#avkit-clip button:has-text('Stop')").first.click()
    tab.wait_for_selector("#avkit-clip button[aria-label=Clear]")
    press(tab)
    assert tab.locator(".avkit-error").count() == 0, tab.locator(".avkit-error").inner_text()
    assert tab.locator("video.main").count() == 1


SIZES = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]


@pytest.mark.browser
@pytest.mark.parametrize("tab", SIZES, indirect=True, ids=lambda size: f"{size[0]}-{size[1]}")
def test_nothing_overflows_and_all_can_be_read(tab, video):
    drop(tab, video)
    press(tab)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    outside = tab.evaluate(
        """() => [...document.querySelectorAll('.avkit-answer *, .avkit-head *, #avkit-tasks *')]
          .filter((e) => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.outerHTML)"""
    )
    assert outside == []
    pale = tab.evaluate(
        """() => {
          const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
          const rgb = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data]; };
          const light = (c) => c.slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
          const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
            if (c[3] > 200) return c; } return [255, 255, 255, 255]; };
          const pale = [];
          for (const e of document.querySelectorAll('.avkit-answer *, .avkit-head *, .avkit-hint')) {
            if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) pale.push([e.textContent.slice(0, 40), contrast]);
          }
          return pale;
        }"""
    )
    assert pale == []


@pytest.mark.browser
@pytest.mark.slow
def test_a_real_clip_is_answered_by_zero_shot(browser, real, tmp_path):
    from avkit.inference.loading import load

    run = load("zero_shot", weights=f"sound={real / 'weights' / 'yamnet.safetensors'}", offline=True)
    page = Served(run, tmp_path, Limits())
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    try:
        tab.goto(page.address)
        tab.wait_for_selector("#avkit-ask")
        drop(tab, real / "clips" / "llp" / "video" / "BjCEufrlXm4.mp4")
        press(tab)
        text = tab.locator(".avkit-answer").inner_text()
        assert "dog" in text
        assert "masks: not run" in text
        assert "davel: 0 % of the time of its events is left in silence." in text
    finally:
        tab.close()
        page.close()
