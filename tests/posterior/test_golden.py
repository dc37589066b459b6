"""Draws of a few small views are, to rounding, what they were before methods had a noun of their own (13ed3f5)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dichroic.diffusion import Schedule
from dichroic.posterior import observation_keys, read_method
from golden_cases import gaussian_priors, golden_view, opaque_priors, starts

KEPT = Path(__file__).with_name("golden.npz")
LAST = {"kind": "annealed", "steps": 1}
PC = {"kind": "pc", "corrections": 2, "tau": 0.2}
CANDIDATES = {"kind": "candidates", "components": 16, "tuples": 64, "steps": 4, "warm_steps": 2}
PAIRS = {"pair_steps": 8, "pair_batch": 64, "pair_width": 16}
# which priors, whether operators are shared, and the method
CASES = {
    "exact": (opaque_priors, False, {"covariance": "exact", "steps": 5, "warm_steps": 3}),
    "exact, means": (opaque_priors, False, {"covariance": "exact", "step": "heun", "steps": 4, "warm_steps": 2}),
    "surrogate": (gaussian_priors, False, {"covariance": "surrogate", "steps": 4, "warm_steps": 2}),
    "surrogate, shared": (
        gaussian_priors,
        True,
        {"covariance": "surrogate", "step": "ancestral", "steps": 4, "warm_steps": 3},
    ),
    "krylov": (
        opaque_priors,
        False,
        {"covariance": "krylov", "steps": 4, "warm_steps": 2, "iterations": 2, "root_iterations": 2},
    ),
    "krylov, corrected": (
        opaque_priors,
        True,
        {"covariance": "krylov", "step": PC, "steps": 4, "warm_steps": 2, "iterations": 1},
    ),
    "candidates": (opaque_priors, False, {"kind": "handover", "first": CANDIDATES, "then": LAST, "at": 0.1}),
    "candidates alone": (opaque_priors, False, {**CANDIDATES, "steps": 8}),
    "gibbs": (
        opaque_priors,
        False,
        {"kind": "gibbs", "rounds": 2, "inner": {"kind": "annealed", "steps": 3, "warm_steps": 2}},
    ),
    "auto": (opaque_priors, False, {"kind": "auto", "steps": 3, "warm_steps": 2}),
    "best": (
        opaque_priors,
        False,
        {"kind": "auto", "candidates": True, "components": 64, "tuples": 256, "steps": 48, "warm_steps": 12},
    ),
    "amortised": (
        opaque_priors,
        False,
        {
            "kind": "handover",
            "first": {"kind": "amortised", "step": "ancestral", "steps": 5, "warm_steps": 3, **PAIRS},
            "then": {"kind": "annealed", "step": "ancestral", "steps": 2},
            "at": 0.5,
        },
    ),
}
# those of `amortised` are of later: before, it stacked these two sources in one order and their operators in another
# a mean takes as many products as there are data now, where it took as many as the source has numbers
PRODUCTS = {"exact, means": 5 * 2, "amortised": 3 * 2}


QUICK = {"exact", "krylov", "surrogate", "gibbs", "auto"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_draws_are_what_they_were(name, monkeypatch):
    # noise levels to train at have the same law, of other random numbers
    before = lambda schedule, key: schedule.sigma(jax.random.beta(key, 3.0, 3.0))  # noqa: E731
    monkeypatch.setattr(Schedule, "training_sigma", before)
    priors, shared, settings = CASES[name]
    method = read_method({"kind": "annealed", "batch": 4, **settings})
    view, key, (start, warm) = golden_view(shared), jax.random.key(3), starts()
    bound = method.bind(view, priors(), key=key)
    drawn = bound.draw(observation_keys(key, len(view)), start=start, warm=warm)
    with np.load(KEPT) as kept:
        for s, x in drawn.samples.items():
            np.testing.assert_allclose(x, kept[f"{name}/{s}"], rtol=2e-3, atol=2e-3)
        forward, products, shared_cost = kept[f"{name}/cost"]
    assert (drawn.cost.forward, drawn.cost.products) == (forward, PRODUCTS.get(name, products))
    assert drawn.shared.total == bound.shared.total == shared_cost
