"""Observations of a few kinds, drawn kind by kind, are what each of them would be by itself."""

import jax
import numpy as np
import pytest

from dichroic.diffusion import DenoiserPrior, GaussianDenoiser, Prior
from dichroic.operators import Mask, PerSample, take
from dichroic.posterior import MomentMatching, batched, observation_keys
from dichroic.problem import Problem, Source, View
from dichroic.white.layout import split_alike

N = 150
METHOD = MomentMatching(covariance="surrogate", steps=6, warm_steps=3)


def two_kinds(rng, masked: str) -> View:
    """Images of which every other one, about, lacks half of its pixels."""
    kind = rng.integers(0, 2, N)
    mask = np.where(kind[:, None, None] == 0, 1.0, np.arange(36).reshape(6, 6) % 2).astype(np.float32)
    y, truth = rng.normal(size=(N, 6, 6)), rng.normal(size=(N, 6, 6))
    if masked == "operator":
        view = View(y, {"a": PerSample(Mask(mask))}, 0.1, truth={"a": truth})  # pyright: ignore
    else:
        view = View(np.where(mask > 0, y, np.nan), {"a": 1.0}, 0.1, truth={"a": truth})
    return Problem({"a": Source((6, 6))}, {"v": view}).views["v"]


def prior() -> Prior:
    return DenoiserPrior(GaussianDenoiser.from_covariance(np.zeros((6, 6)), np.eye(36)))


@pytest.mark.parametrize("masked", ["operator", "missing"])
def test_kinds_are_drawn_as_every_observation_by_itself(monkeypatch, masked):
    rng = np.random.default_rng(0)
    view = two_kinds(rng, masked)
    key, warm = jax.random.key(0), rng.random(N) < 0.5
    keys = observation_keys(key, N)
    kinds = METHOD.bind(view, {"a": prior()}, key=key)
    together = kinds.draw(keys, start=view.truth, warm=warm)
    some = rng.permutation(N)[:20]
    part = kinds.draw(keys[some], some, start={"a": view.truth["a"][some]}, warm=warm[some])
    np.testing.assert_allclose(part.samples["a"], together.samples["a"][some], atol=1e-5)
    monkeypatch.setattr(batched, "FEW", 10**9)
    apart = METHOD.bind(view, {"a": prior()}, key=key).draw(keys, start=view.truth, warm=warm)
    np.testing.assert_allclose(together.samples["a"], apart.samples["a"], atol=1e-4)
    np.testing.assert_allclose(together.chi_square, apart.chi_square, atol=1e-3)
    assert together.cost == apart.cost


def test_progress_over_kinds_never_falls():
    view, seen = two_kinds(np.random.default_rng(0), "operator"), []
    method, key = METHOD.model_copy(update={"batch": 32}), jax.random.key(0)
    bound = method.bind(view, {"a": prior()}, key=key)
    bound.draw(observation_keys(key, N), report=lambda *now: seen.append(now))
    done = [now for now, _ in seen]
    assert len(done) > 2
    assert done == sorted(done)
    assert {total for _, total in seen} == {N}
    assert done[-1] == N


@pytest.mark.parametrize(
    ("smallest", "sizes", "shared"),
    [(1, [5, 3, 2], [True] * 3), (3, [5, 3, 2], [True] * 3), (4, [5, 5], [True, False]), (6, [10], [False])],
)
def test_kinds_are_split_and_small_ones_left_together(smallest, sizes, shared):
    rng = np.random.default_rng(1)
    kind = rng.permutation([0] * 5 + [1] * 3 + [2] * 2)
    mask, scale = rng.random((3, 4)) > 0.3, np.array([1.0, 2.0, 3.0])
    y = np.where(mask[kind], rng.normal(size=(10, 4)), np.nan)
    view = View(y, {"a": PerSample(scale[kind])}, 0.1, truth={"a": rng.normal(size=(10, 4))})
    view = Problem({"a": Source((4,))}, {"v": view}).views["v"]
    parts = split_alike(view, smallest)
    assert sorted(len(members) for members, _ in parts) == sorted(sizes)
    assert [part.shared for _, part in sorted(parts, key=lambda p: not p[1].shared)] == shared
    np.testing.assert_array_equal(np.sort(np.concatenate([members for members, _ in parts])), np.arange(10))
    for members, part in parts:
        np.testing.assert_array_equal(part.y, view.y[members])
        np.testing.assert_array_equal(part.counts, view.counts[members])
        np.testing.assert_array_equal(part.truth["a"], view.truth["a"][members])
        for i, number in enumerate(members):
            assert take(part.mixing["a"], i).factor == scale[kind[number]]
