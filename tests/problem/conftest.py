"""A small problem file, and a way to change a line of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

TEXT = """
title = "Spots over stripes"
held_out = 0.25
[sources.stripes]
shape = [4, 4, 1]
[sources.spots]
shape = [4, 4, 1]
unit = "counts"
[views.plain]
y = "data.npz:plain"
noise = 0.1
[views.plain.mixing]
stripes = 1.0
[views.mix]
y = "data.npz:mix"
observed = "data.npz:mask"
noise = { std = "data.npz:noise", per_sample = true }
truth.spots = { array = "data.npz:spots", scale = 0.5 }
[views.mix.mixing]
stripes = { downsample = 2 }
spots = [
    0.5,
    { block_project = { factor = "data.npz:factor", factors = [1, 2], per_sample = true } },
    { downsample = 2 },
]
[fit]
laps = 8
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `problem.toml` and `data.npz`: 8 observations of 4 x 4 pixels, 6 of 2 x 2."""
    rng = np.random.default_rng(0)
    mask = rng.random((6, 2, 2, 1)) < 0.8
    mask[:, 0, 0] = True
    np.savez(
        tmp_path / "data.npz",
        plain=rng.normal(size=(8, 4, 4, 1)),
        mix=rng.normal(size=(6, 2, 2, 1)).astype(np.float32),
        mask=mask,
        noise=rng.uniform(0.1, 0.2, size=(6, 2, 2, 1)),
        spots=rng.integers(0, 255, size=(6, 4, 4, 1)).astype(np.uint8),
        factor=np.array([1, 2, 2, 1, 1, 2]),
    )
    (tmp_path / "problem.toml").write_text(TEXT)
    return tmp_path


@pytest.fixture
def change(folder: Path) -> Callable[..., Path]:
    """Replaces text of the problem file; gives its path."""

    def replace(*pairs: tuple[str, str]) -> Path:
        path = folder / "problem.toml"
        text = path.read_text()
        for old, new in pairs:
            assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return replace
