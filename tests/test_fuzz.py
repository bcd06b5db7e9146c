# SPDX-License-Identifier: Apache-2.0
"""Damaged files are an error of ours, or read; the short form of `benchmarks/fuzz.py`."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fuzz_targets
from fuzz import try_one

#: Parts of the files of the long form; the others are in it alone, since they take long to make.
PARTS = ("_arrays", "_tensors", "_pictures", "_texts")


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    made = []
    for part in PARTS:
        made += vars(fuzz_targets)[part](folder)
    for layout in ("music-avqa", "unav100", "vggss", "llp"):
        made += fuzz_targets.layout_targets(folder, layout)
    return made


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(choice=st.integers(0, 10_000), seed=st.integers(0, 2**32))
def test_damage_is_one_error_of_ours(targets, choice, seed):
    target = targets[choice % len(targets)]
    outcome, detail = try_one(target, seed)
    assert outcome in ("read", "refused"), f"{target.path}, seed {seed}: {outcome} {detail}"


def test_undamaged_files_are_read(targets):
    for target in targets:
        assert target.read() == target.read()


def test_a_changed_store_is_noticed(targets, monkeypatch):
    """The test can fail: without the comparison of checksums, damage to a store changes what is read."""
    store = next(target for target in targets if target.kind == "features, store")
    monkeypatch.setattr("avkit.features.store.Store._check", lambda *_: None)
    whole = store.path.read_bytes()
    outcomes = set()
    for position in range(600, len(whole), 97):
        changed = whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :]
        monkeypatch.setattr("fuzz.damage", lambda data, seed, name, changed=changed: changed)
        outcomes.add(try_one(store, 0)[0])
    assert "changed" in outcomes
