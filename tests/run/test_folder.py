"""Checkpoints: whole or not there."""

from pathlib import Path

import numpy as np
import pytest

from dichroic.em import EMState, load_state, save_state
from dichroic.run import RunError, RunFolder
from dichroic.store import os as store_os


@pytest.fixture
def state(finished) -> EMState:
    draws = {"both": {"sky": np.arange(6, dtype=np.float32).reshape(3, 2), "usable": np.array([True, False, True])}}
    best = {"lap": 1, "lowest": 0.1 + 0.2, "level": 1e-17}
    priors = dict(finished.priors)
    records = [{"lap": 0}, {"lap": 1}]
    return EMState(0, 1, priors, draws, {}, best, {"sky": priors["sky"]}, priors, records)


def test_a_state_comes_back_as_it_was(state, tmp_path):
    import jax

    save_state(state, tmp_path / "kept")
    again = load_state(tmp_path / "kept")
    assert (again.stage, again.lap, again.best, again.records) == (0, 1, state.best, state.records)
    np.testing.assert_array_equal(again.draws["both"]["sky"], state.draws["both"]["sky"])
    assert again.draws["both"]["usable"].dtype == bool
    assert set(again.best_priors) == {"sky"}
    a, b = (jax.tree.leaves(s.priors["star"].denoiser()) for s in (state, again))
    # shapes too: a number that comes back as an array of one number compiles everything anew
    assert [(x.shape, x.dtype) for x in a] == [(x.shape, x.dtype) for x in b]
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert state.priors["star"].scaling == again.priors["star"].scaling


def test_two_checkpoints_are_kept(state, tmp_path):
    folder = RunFolder(tmp_path)
    for lap in range(3):
        state.lap, state.records = lap, [{"lap": k} for k in range(lap + 1)]
        folder.save_checkpoint(state)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert folder.checkpoint().lap == 2
    assert len(folder.records()) == 3


def test_the_last_of_many_stages_is_the_newest(state, tmp_path):
    folder = RunFolder(tmp_path)
    for stage in (9, 10):  # between stages nothing is added to the records
        state.stage, state.lap = stage, 0
        folder.save_checkpoint(state)
    assert folder.checkpoint().stage == 10


@pytest.mark.parametrize("at", ["write", "rename"])
def test_a_failure_in_the_middle_leaves_the_one_before(state, tmp_path, monkeypatch, at):
    folder = RunFolder(tmp_path)
    folder.save_checkpoint(state)

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(*((Path, "write_bytes") if at == "write" else (store_os, "replace")), fail)
    state.lap = 2
    with pytest.raises(OSError, match="no space"):
        save_state(state, tmp_path / "checkpoints" / "000009_000_000002")
    monkeypatch.undo()
    assert folder.checkpoint().lap == 1
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(state, tmp_path):
    folder, told = RunFolder(tmp_path), []
    for lap in range(2):
        state.lap, state.records = lap, [{"lap": k} for k in range(lap + 1)]
        folder.save_checkpoint(state)
    last = max((tmp_path / "checkpoints").iterdir()) / "state.safetensors"
    last.write_bytes(last.read_bytes()[:-5])
    assert folder.checkpoint(told.append).lap == 0
    assert len(told) == 1 and "going on from the checkpoint before it" in told[0]
    first = min((tmp_path / "checkpoints").iterdir()) / "state.safetensors"
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    with pytest.raises(RunError, match=r"state\.safetensors is damaged: its content is not what was written"):
        folder.checkpoint()
