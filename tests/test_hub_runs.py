# SPDX-License-Identifier: Apache-2.0
"""Runs and heads handed on: folders, model cards, and a stand-in for the hub on this machine."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants

import avkit
from avkit.batch import Vocabulary
from avkit.cli import main
from avkit.errors import DataError, RunError
from avkit.heads import Head, MaskHead, create_head
from avkit.heads.base import HeadInputs
from avkit.reading.hub import HubError
from avkit.systems import make_config
from avkit.systems.base import System
from avkit.systems.han.system import HANSystem
from avkit.training.module import AVModel

COMMIT = "a" * 40


class StandIn(BaseHTTPRequestHandler):
    """Answers of the hub to what huggingface_hub asks for models; files are kept in `server.repositories`."""

    def log_message(self, *words):
        pass

    def reply(self, code, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def allowed(self, name):
        if name not in self.server.repositories:
            self.reply(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return False
        if name in self.server.private and self.headers.get("Authorization") != "Bearer secret":
            self.reply(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return False
        return True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            if not self.allowed(name):
                return
            if len(parts) > 5 and parts[4] == "revision" and parts[5] not in ("main", COMMIT):
                self.reply(404, {"error": "no revision"}, X_Error_Code="RevisionNotFound")
                return
            if parts[4:5] == ["tree"]:
                held = self.server.repositories[name]
                self.reply(200, [{"type": "file", "path": p, "size": len(x), "oid": "b"} for p, x in held.items()])
                return
            files = [{"rfilename": path} for path in self.server.repositories[name]]
            self.reply(200, {"id": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []})
        elif len(parts) > 3 and parts[2] == "resolve":
            name = "/".join(parts[:2])
            if not self.allowed(name):
                return
            content = self.server.repositories[name].get("/".join(parts[4:]))
            if content is None:
                self.reply(404, {"error": "no file"}, X_Error_Code="EntryNotFound")
                return
            self.reply(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)
        else:
            self.reply(200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            given = json.loads(body)
            name = f"{given.get('organization') or 'owner'}/{given['name']}"
            self.server.repositories[name] = {}
            self.reply(200, {"url": f"{constants.ENDPOINT}/{name}"})
        elif parts[4:5] == ["preupload"]:
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self.reply(200, {"files": modes})
        elif parts[4:5] == ["commit"]:
            name = "/".join(parts[2:4])
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
            address = f"{constants.ENDPOINT}/{name}/commit/{COMMIT}"
            self.reply(200, {"success": True, "commitOid": COMMIT, "commitUrl": address})
        else:
            self.reply(200, {})


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.repositories, server.private = {}, set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    template = constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"  # HF_ENDPOINT is read at import alone
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", "ave", "--out", str(folder), "--name", "run", "--trainer.max_steps", "1"]
    words += ["--data.steps_per_epoch", "1", "--data.scenes.train_size", "8", "--data.scenes.val_size", "2"]
    words += ["--data.scenes.test_size", "2", "--data.loader.workers", "0", "--model.system.width", "32"]
    words += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    assert main(words) == 0
    return folder / "run"


def same_weights(one, other):
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_run_goes_to_a_folder_and_back(run, tmp_path):
    model = avkit.load(run)
    folder = model.save_pretrained(tmp_path / "mine")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"README.md", "config.yaml", "run.json", "report.json", "checkpoints/best.safetensors"}
    assert same_weights(type(model).from_pretrained(folder), model)
    with pytest.raises(RunError, match="exists and is not empty"):
        model.save_pretrained(folder)


def test_the_card_is_made_of_the_report(run, tmp_path):
    card = (avkit.load(run).save_pretrained(tmp_path / "mine") / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    rows = [row for row in json.loads((run / "report.json").read_text())["rows"] if row["value"] is not None]
    results = front["model-index"][0]["results"]
    assert [result["metrics"][0]["value"] for result in results] == [row["value"] for row in rows]
    assert {result["metrics"][0]["verified"] for result in results} == {False}
    for part in ("## Does it listen?", "in silence", "## Licences", "## Limits", 'avkit.load("'):
        assert part in card


def test_a_run_is_shown_pushed_loaded_and_pulled(hub, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "owner/name"]) == 0
    shown = capsys.readouterr().out
    assert "best.safetensors" in shown
    assert "Nothing was uploaded" in shown
    assert not hub.repositories
    assert main(["push", str(run), "owner/name", "--yes"]) == 2
    assert "needs a token" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert main(["push", str(run), "owner/name", "--yes"]) == 2
    assert "Make it with --create." in capsys.readouterr().err
    assert main(["push", str(run), "owner/name", "--yes", "--create"]) == 0
    assert set(hub.repositories["owner/name"]) >= {"README.md", "run.json", "checkpoints/best.safetensors"}
    assert same_weights(avkit.load("owner/name"), avkit.load(run))
    assert main(["pull", "owner/name"]) == 0
    assert same_weights(avkit.load("runs/name"), avkit.load(run))
    assert main(["pull", "owner/name"]) == 2
    assert "runs/name exists. Choose a new folder with --out FOLDER." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "revision", "error"),
    [
        (
            "owner/nme",
            None,
            "no repository 'owner/nme', or it is private. Check the spelling; for a private",
        ),
        ("owner/secret", None, "no repository 'owner/secret', or it is private"),
        ("owner/name", "v9", "owner/name has no revision 'v9'"),
        ("owner/na me", None, "'owner/na me' is no name of a repository"),
        (
            "owner/part",
            None,
            "is no run that avkit wrote: config.yaml, checkpoints/best.safetensors is missing",
        ),
    ],
)
def test_a_hub_that_gives_no_run_is_one_line(name, revision, error, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.repositories = {"owner/name": {"run.json": b"{}"}, "owner/secret": {}, "owner/part": {"run.json": b"{}"}}
    hub.private = {"owner/secret"}
    with pytest.raises((RunError, HubError)) as caught:
        avkit.load(name, revision=revision)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_has_no_revision(run):
    with pytest.raises(ValueError, match="is no repository of a hub, so it has no revision"):
        avkit.load(run, revision="v1")


def test_a_head_goes_to_a_folder_and_back_and_from_a_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = create_head("avs", "masks", HeadInputs(16, Vocabulary(["dog"]), (8,)), queries=4)
    head.save_pretrained("head")
    again = Head.from_pretrained("head")
    assert isinstance(again, MaskHead)
    assert all(torch.equal(x, again.state_dict()[key]) for key, x in head.state_dict().items())
    files = {path.name: path.read_bytes() for path in (tmp_path / "head").iterdir()}
    hub.repositories["owner/head"] = files
    assert len(MaskHead.from_pretrained("owner/head").decoder.queries) == 4
    with pytest.raises(ValueError, match="holds a head already"):
        head.save_pretrained("head")
    facts = json.loads(files["head.json"])
    for change, error in (
        ({"options": {"queries": 5}}, "does not fit head/head.json: "),
        ({"options": {"querys": 5}}, "Did you mean 'queries'"),
        ({"name": "os:system"}, "from outside avkit"),
        ({"inputs": {}}, "describes no head"),
    ):
        (tmp_path / "head" / "head.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises((DataError, ValueError), match=error):
            Head.from_pretrained("head")


@pytest.fixture(scope="module")
def systems():
    """Untrained systems: the backbone with two heads that share words, and a paper's network on features."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(["dog", "cat"], ["yes", "no"], ["is", "a", "dog"])
    small = make_config({"name": "av_unified", "width": 16, "heads": 2})
    heads = {"avs": {"name": "masks", "queries": 4}}
    shared = AVModel("avs,ra_ssu", vocabulary, small, heads, prompts={"avs": "what sounds: where"})
    parsing = AVModel("avvp", vocabulary, make_config({"name": "han", "width": 16, "weights": None}))
    return {"shared": shared.system, "parsing": parsing.system}


@pytest.mark.parametrize("name", ["shared", "parsing"])
def test_a_system_goes_to_a_folder_and_back_and_from_a_hub(name, systems, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system = systems[name]
    assert system.save_pretrained("one") == Path("one")
    assert sorted(path.name for path in Path("one").iterdir()) == ["system.json", "system.safetensors"]
    again = System.from_pretrained("one")
    assert type(again) is type(system)
    assert not again.training
    assert again.config == system.config
    assert again.context.prompts == system.context.prompts
    own, loaded = system.state_dict(), again.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[key], loaded[key]) for key in own)
    hub.repositories["owner/one"] = {path.name: path.read_bytes() for path in Path("one").iterdir()}
    assert System.from_pretrained("owner/one", revision="main").state_dict().keys() == own.keys()
    with pytest.raises(ValueError, match="holds a system already"):
        system.save_pretrained("one")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"system": {"name": "han", "width": 24}}, "does not fit one/system.json: "),
        ({"system": {"name": "han", "widht": 16}}, "Did you mean 'width'"),
        ({"system": {"name": "os:system"}}, "os:system is from outside avkit"),
        ({"tasks": {"os:system": {}}}, "os:system is from outside avkit"),
        ({"tasks": ["avvp"]}, "describes no system"),
        ({"tasks": {"avs": {}}}, "not avs"),
        ({"features": None}, "describes no system"),
    ],
)
def test_a_folder_that_holds_no_such_system_is_one_line(change, error, systems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    systems["parsing"].save_pretrained("one")
    facts = json.loads(Path("one/system.json").read_text())
    Path("one/system.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises((DataError, ValueError), match=error) as caught:
        System.from_pretrained("one")
    assert "\n" not in str(caught.value)


def test_a_system_of_another_class_or_none(systems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    systems["shared"].save_pretrained("one")
    with pytest.raises(TypeError, match="one holds a AVUnified, not a HANSystem"):
        HANSystem.from_pretrained("one")
    with pytest.raises(DataError, match=r"none holds no saved system: system\.json is missing"):
        System.from_pretrained("none")
