# SPDX-License-Identifier: Apache-2.0
"""`avkit get`: annotation files from a server on this machine that cuts off, lies, refuses and goes on."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from avkit.cli import main
from avkit.datasets import list_datasets
from avkit.datasets import published_files as table
from avkit.datasets.get import find_answer
from avkit.datasets.published_files import PublishedFile, published_files
from avkit.reading.digests import has_digest
from avkit.reading.text import read_unpacked

TRAIN = b"vid,label\n" + b"a clip,a label\n" * 9000
TEST = b"vid,label\r\none,two\r\n"
COMMIT = "c" * 40


class Repository(BaseHTTPRequestHandler):
    """A server of raw files; `server.behaviour` says what it does to whom it answers."""

    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        if self.server.refusals:
            self.send_error(self.server.refusals.pop())
            return
        begun = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if begun >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begun else 200)
        if begun:
            self.send_header("Content-Range", f"bytes {begun}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begun))
        self.end_headers()
        cut = self.server.cuts.pop() if self.server.cuts else len(content)
        self.wfile.write(content[begun : begun + cut])


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    server.asked, server.files, server.refusals, server.cuts, server.ranges = [], {}, [], [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def entry(name, content, licence="MIT", digest=None):
    digest = digest or hashlib.sha256(content).hexdigest()
    return PublishedFile("llp", ("2024",), name, "authors/llp", COMMIT, f"data/{name}", len(content), digest, licence)


@pytest.fixture
def files(server, monkeypatch):
    """The table of `llp`: two files that may be downloaded, on the server of this test."""
    git = hashlib.sha1(b"blob %d\0" % len(TEST) + TEST).hexdigest()
    rows = [entry("AVVP_train.csv", TRAIN), entry("AVVP_test_pd.csv", TEST, digest=git)]
    server.files = {
        f"/authors/llp/{COMMIT}/data/{row.name}": content for row, content in zip(rows, (TRAIN, TEST), strict=True)
    }
    monkeypatch.setattr(table, "published_files", lambda: tuple(rows))
    monkeypatch.setattr("avkit.datasets.download._PAUSE_SECONDS", 0.0)
    return rows


def get(server, root, *words):
    address = f"http://127.0.0.1:{server.server_port}"
    return main(["get", "llp", "--annotations", "--root", str(root), "--mirror", address, *words])


def test_files_are_downloaded_once(server, files, tmp_path, capsys):
    assert get(server, tmp_path / "llp") == 0
    assert (tmp_path / "llp" / "AVVP_train.csv").read_bytes() == TRAIN
    assert (tmp_path / "llp" / "AVVP_test_pd.csv").read_bytes() == TEST
    assert "downloaded" in capsys.readouterr().out
    asked = len(server.asked)
    assert get(server, tmp_path / "llp") == 0
    assert "is there" in capsys.readouterr().out
    assert len(server.asked) == asked
    assert sorted(path.name for path in (tmp_path / "llp").iterdir()) == ["AVVP_test_pd.csv", "AVVP_train.csv"]


def test_a_cut_off_download_goes_on(server, files, tmp_path):
    server.cuts = [50_000, 70_000]
    assert get(server, tmp_path) == 0
    assert [begun for path, begun in server.asked if "train" in path] == [None, "bytes=70000-", "bytes=120000-"]
    assert (tmp_path / "AVVP_train.csv").read_bytes() == TRAIN


def test_a_later_command_goes_on(server, files, tmp_path, capsys):
    server.cuts = [1000] * 4
    assert get(server, tmp_path) == 2
    line = capsys.readouterr().err
    assert "the connection ended after 4000 of" in line
    assert "goes on from there" in line
    assert not (tmp_path / "AVVP_train.csv").exists()
    assert get(server, tmp_path) == 0
    assert server.asked[4][1] == "bytes=4000-"
    assert (tmp_path / "AVVP_train.csv").read_bytes() == TRAIN


def test_a_server_without_ranges_sends_all_of_it_again(server, files, tmp_path):
    server.ranges = False
    server.cuts = [1000]
    assert get(server, tmp_path) == 0
    assert (tmp_path / "AVVP_train.csv").read_bytes() == TRAIN


def test_a_busy_server_is_asked_again(server, files, tmp_path):
    server.refusals = [503, 429]
    assert get(server, tmp_path) == 0


def test_another_content_is_refused(server, files, tmp_path, capsys):
    server.files[f"/authors/llp/{COMMIT}/data/AVVP_train.csv"] = TRAIN[:-1] + b"!"
    assert get(server, tmp_path) == 2
    assert f"is not the published {files[0].digest}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_more_than_was_published_is_refused(server, files, tmp_path, capsys):
    server.files[f"/authors/llp/{COMMIT}/data/AVVP_train.csv"] = TRAIN * 3
    assert get(server, tmp_path) == 2
    assert f"more than {len(TRAIN)} bytes" in capsys.readouterr().err


def test_a_file_of_the_user_is_left_as_it_is(server, files, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    own = tmp_path / "data" / "AVVP_train.csv"
    own.write_bytes(b"mine")
    assert get(server, tmp_path) == 2
    assert f"{own} is not the file that its authors published" in capsys.readouterr().err
    assert own.read_bytes() == b"mine"


def test_absent_files_and_servers_take_one_line(server, files, tmp_path, capsys):
    server.files.clear()
    assert get(server, tmp_path) == 2
    assert "is not given (404" in capsys.readouterr().err
    server.shutdown()
    server.server_close()
    assert get(server, tmp_path) == 2
    assert "cannot be downloaded: " in capsys.readouterr().err
    assert main(["get", "llp", "--annotations", "--root", str(tmp_path), "--mirror", "ftp://x"]) == 2
    assert "--mirror is 'ftp://x'" in capsys.readouterr().err


def test_a_root_that_is_a_file(server, files, tmp_path, capsys):
    root = tmp_path / "file"
    root.write_text("x")
    assert get(server, root) == 2
    assert "Name another folder with --root" in capsys.readouterr().err


def test_what_has_no_licence_is_had_by_hand(server, files, tmp_path, capsys, monkeypatch):
    rows = (entry("AVVP_train.csv", TRAIN, licence=""), entry("AVVP_test_pd.csv", TEST))
    monkeypatch.setattr(table, "published_files", lambda: rows)
    assert get(server, tmp_path) == 1
    out = capsys.readouterr().out
    assert rows[0].page in out
    assert rows[0].digest in out
    assert "ask the authors" in out
    assert not (tmp_path / "AVVP_train.csv").exists()
    (tmp_path / "AVVP_train.csv").write_bytes(TRAIN.replace(b"\n", b"\r\n"))  # saved by an editor of Windows
    assert get(server, tmp_path) == 0


def test_two_downloads_into_one_folder(server, files, tmp_path, capsys, monkeypatch):
    def held(path):
        raise BlockingIOError("process 7 on host since today")

    monkeypatch.setattr("avkit.datasets.get.hold", held)
    assert get(server, tmp_path) == 2
    assert "is being filled by process 7 on host" in capsys.readouterr().err


@pytest.mark.parametrize("name", list_datasets())
def test_every_dataset_has_an_answer(name, capsys):
    answer = find_answer(name)
    assert len(answer.how_to_get.split()) > 10
    assert any(word in answer.how_to_get.lower() for word in ("ask", "built in", "your own"))
    assert main(["get", name]) == 0
    assert answer.title in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["musik-avqa"], "Did you mean 'music-avqa'"),
        (["llp", "--release", "2023"], "Unknown release of LLP '2023'"),
        (["scenes", "--release", "x"], "has no releases"),
        (["llp", "--commercial_safe"], "--commercial_safe: the data of llp"),
    ],
)
def test_wrong_words(words, line, capsys):
    assert main(["get", *words]) == 2
    assert line in capsys.readouterr().err


def test_the_table_is_consistent():
    from avkit.datasets import find_dataset

    for file in published_files():
        dataset = find_dataset(file.dataset)
        assert set(file.releases) <= set(dataset.releases), file
        assert len(file.commit) == 40, file
        assert len(file.digest) in (40, 64), file
        assert int(file.digest, 16), file
    keys = [(file.dataset, release, file.name) for file in published_files() for release in file.releases]
    assert len(set(keys)) == len(keys)


def test_the_table_has_the_digests_of_real_files(real):
    compared = 0
    for file in published_files():
        places = [*real.glob(f"annotations/*/{file.name}.gz"), *real.glob(f"annotations/*/{file.name}")]
        if places and file.releases[0] != "2020":
            compared += 1
            assert has_digest(read_unpacked(places[0]), file.digest), file.name
    assert compared > 12


def test_digests():
    assert has_digest(b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a")  # as `git hash-object` says
    assert has_digest(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert not has_digest(b"x", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
