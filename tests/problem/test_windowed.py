"""Windows in a problem file: data, noise and masks are cut alike, and none is on both sides of a split."""

import numpy as np
import pytest

from dichroic.problem import load_problem

RNG = np.random.default_rng(0)


def test_windows_in_a_problem_file(tmp_path):
    record = RNG.normal(size=(2, 100)).astype(np.float32)
    np.savez(tmp_path / "d.npz", y=record, std=np.full((2, 100), 0.1) * np.arange(1, 3)[:, None], good=record < 2)
    text = """
[sources.s]
shape = [16]
[views.v]
y = "d.npz:y"
window = 16
hop = 8
rate = 50
noise = { std = "d.npz:std" }
observed = "d.npz:good"
mixing.s = 1.0
"""
    (tmp_path / "p.toml").write_text(text)
    problem = load_problem(tmp_path / "p.toml").problem
    view = problem.views["v"]
    assert view.y.shape == (24, 16)
    good = record < 2
    np.testing.assert_array_equal(view.y[1][view.observed[1]], record[0, 8:24][good[0, 8:24]])
    np.testing.assert_allclose(np.asarray(view.noise.value.std)[12:][view.observed[12:]], 0.2)
    assert view.labels.axes[0].step == 0.02 and view.labels.windows.whole
    assert list(view.labels.ids[:2]) == ["0@0", "0@8"]
    kept, held = problem.split(0.2)
    assert len(held.views["v"]) == 5 and len(kept.views["v"]) == 18  # one overlaps with those held out
    for old, new, message in [
        ("hop = 8", "hop = 17", "at most the window"),
        ("window = 16", "window = 101", "less than a window"),
        ("window = 16\n", "", "hop: there is no window"),
        ("rate = 50", "rate = 0", "rate: expected samples in a second"),
    ]:
        (tmp_path / "p.toml").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message):
            load_problem(tmp_path / "p.toml")
