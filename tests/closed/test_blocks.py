"""Observations with systems of their own are gone through in blocks, which change nothing but rounding."""

import numpy as np
import pytest

from dichroic.algebra import Components
from dichroic.closed import systems
from dichroic.operators import Dense, DiagonalNoise, PerSample
from dichroic.problem import View
from dichroic.white import arrays

N, SHAPES = 23, {"a": (2,), "b": (2,)}


def law(rng, parts: int) -> Components:
    A = rng.standard_normal((parts, 2, 2))
    return Components(np.full(parts, 1 / parts), rng.standard_normal((parts, 2)), A @ A.swapaxes(1, 2) + np.eye(2))


@pytest.mark.parametrize("parts", [1, 2])
def test_sums_by_blocks_are_those_over_all(parts, rng, monkeypatch):
    y = rng.standard_normal((N, 3))
    view = View(y, {s: PerSample(Dense(rng.standard_normal((N, 3, 2)))) for s in SHAPES}, DiagonalNoise(0.5))
    view = view.bind(SHAPES)
    components = {s: law(rng, parts) for s in SHAPES}

    def found():
        of = systems.Systems(view, SHAPES)
        value, sums = of.statistics(components)
        return [of.A, of.y, of.count, value, of.log_likelihood(components)] + [
            part for s in SHAPES for part in (sums[s].count, sums[s].first, sums[s].second)
        ]

    whole = found()
    monkeypatch.setattr(arrays, "BLOCK", 5)  # the last block is filled up
    monkeypatch.setattr(systems, "MOST", 4)
    for got, want in zip(found(), whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
