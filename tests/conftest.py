# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: no network, one thread, and the shared material where it is present."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

# oneDNN's bfloat16 convolutions on AMX give NaN for finite input now and then (torch 2.14, a Conv2d of (4, 128, 33, 2)
# with stride 2); the variable is read before torch is imported
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
#: Files that take longest, in order. They begin first, so that one worker doesn't end long after the others.
LONGEST = (
    "test_processes.py",
    "test_fit.py",
    "test_fit_official.py",
    "test_fit_all.py",
    "test_systems_dense.py",
    "test_fit_systems.py",
    "test_trainer_options.py",
    "test_untrusted_runs.py",
)
#: Where browsers are, beside those that playwright brings.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items):
    """Run the longest files first."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path_factory):
    """No test may reach the network; hub caches point to an empty folder."""
    cache = tmp_path_factory.getbasetemp() / "hub"
    for name in ("HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"A test tried to reach {address}; mark it 'network' or use what it makes itself.")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """One thread in each module: a command that an earlier one ran may have set others, and sums depend on it."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _nothing_outside_stays(tmp_path_factory):
    """A package that the tests of a module write and import is gone after them, with the fields that it declares."""
    from avkit.fields import FIELDS
    from avkit.outside import imported_packages

    fields = dict(FIELDS)
    packages = set(imported_packages)
    path = list(sys.path)
    yield
    FIELDS.clear()
    FIELDS.update(fields)
    imported_packages.intersection_update(packages)
    sys.path[:] = path
    folder = tmp_path_factory.getbasetemp()
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture(scope="session", autouse=True)
def _few_timed_answers():
    """Reports time one answer of each task and not five: how long they take is not what tests look at."""
    import avkit.report.efficiency

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(avkit.report.efficiency, "REPEATS", 1)
        yield


def _shared_words(predictions, references, timeout=0.0):
    """In the place of METEOR: the words that a caption shares with a reference, over all of both."""
    scores = []
    for prediction, own in zip(predictions, references, strict=True):
        said = set(prediction.split())
        scores.append(max(len(said & set(text.split())) / max(1, len(said | set(text.split()))) for text in own))
    return sum(scores) / max(1, len(scores)), scores


@pytest.fixture(scope="session", autouse=True)
def _no_meteor():
    """Reports score captions without METEOR's program, whose start takes 12 s of a processor."""
    import avkit.metrics.caption_scores

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(avkit.metrics.caption_scores, "meteor_scores", _shared_words)
        yield


@pytest.fixture
def real_meteor(monkeypatch):
    """METEOR by its own program."""
    from avkit.metrics.meteor import meteor_scores

    monkeypatch.setattr("avkit.metrics.caption_scores.meteor_scores", meteor_scores)


def _folder(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is absent: {path.name} is not beside the checkout")
    return path


@pytest.fixture(scope="session")
def real() -> Path:
    """Real clips and annotation files."""
    return _folder(SHARED / "data" / "real", "real data")


@pytest.fixture(scope="module")
def browser():
    """Chromium, by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("AVKIT_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as started:
        if path is None and not Path(started.chromium.executable_path).exists():
            pytest.skip("there is no Chromium")
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
