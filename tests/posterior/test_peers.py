"""One step of DPS, PiGDM and TMPD beside azula's: the same network, the same noise, double precision.

By name, where the extra `peers` is installed: `pytest tests/posterior/test_peers.py`.
"""

import importlib.util
from math import log

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import Ancestral, Denoiser, noise_like
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import DPS, TMPD, PiGDM
from posterior_cases import whiten

pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.skipif(not importlib.util.find_spec("azula"), reason="the peer azula is not installed: extra 'peers'"),
]

D, M, STD = 4, 3, 0.4
T, S, LOW, HIGH = 0.7, 0.5, 0.01, 10.0  # noise levels of the step, and the ends of the schedule
_RNG = np.random.default_rng(0)
W, V, B = _RNG.normal(size=(6, D)), _RNG.normal(size=(D, 6)) / 2, _RNG.normal(size=6)
A, Y, X_T = np.abs(_RNG.normal(size=(M, D))), _RNG.normal(size=M), _RNG.normal(size=D)
KEY = jax.random.key(3)


class Tanh(Denoiser):
    """A small network, whose Jacobian is not symmetric."""

    @property
    def shape(self):
        return (D,)

    def __call__(self, x_t, sigma):
        return (x_t + V @ jnp.tanh(W @ x_t + sigma * B)) / (1 + sigma**2)


@pytest.fixture
def azula(monkeypatch):
    """The same network there, its sampler's noise, and its times for the two levels."""
    import torch
    from azula.denoise import Denoiser as Theirs
    from azula.denoise import DiracPosterior
    from azula.noise import VESchedule

    class Same(Theirs):
        def __init__(self):
            super().__init__()
            self.schedule = VESchedule(LOW, HIGH)

        def forward(self, x_t, t, **_):
            _, sigma = self.schedule(t)
            w, v, b = (torch.as_tensor(a) for a in (W, V, B))
            return DiracPosterior(mean=(x_t + v @ torch.tanh(w @ x_t + sigma * b)) / (1 + sigma**2))

    noise = np.array(jax.jit(noise_like)(KEY, {"x": jnp.asarray(X_T)})["x"])
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.as_tensor(noise))
    times = [torch.tensor(log(level / LOW) / log(HIGH / LOW), dtype=torch.float64) for level in (T, S)]
    return Same(), torch.as_tensor(Y), torch.as_tensor(A), torch.as_tensor(X_T), times


def step(method, walk=None):
    """Ours, and the estimates behind it: of the method, and of the network alone."""

    @jax.jit
    def run(x_t):
        target = method.build({"x": Tanh()}, whiten(Y, {"x": Dense(A)}, DiagonalNoise(STD)), False)
        x_s, _ = (walk or method.walk)(target, {"x": x_t}, jnp.asarray(T), jnp.asarray(S), KEY)
        return x_s["x"], target.mean({"x": x_t}, jnp.asarray(T))[0]["x"], Tanh()(x_t, jnp.asarray(T))

    return [np.asarray(a) for a in run(jnp.asarray(X_T))]


def test_dps(azula):
    from azula.guidance.dps import DPSSampler

    denoiser, y, a, x_t, times = azula
    zeta = 0.3
    theirs = DPSSampler(denoiser, y, lambda x: a @ x, zeta=zeta).step(x_t, *times)
    # ours has the data in units in which rows of A have unit length
    ours, *_ = step(DPS(zeta=zeta * float(np.sqrt((A**2).sum(1).mean()))))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_pigdm(azula):
    """Its weight of the guidance is the paper's, r^2 for what the step of an estimate makes of it."""
    import torch
    from azula.guidance.pgdm import PGDMSampler

    denoiser, y, a, x_t, times = azula
    r2 = 1.7 * T**2 / (1.7 + T**2)
    inverse = torch.as_tensor(r2 * A.T @ np.linalg.inv(STD**2 * np.eye(M) + r2 * A @ A.T))
    theirs = PGDMSampler(denoiser, y, lambda x: a @ x, lambda v: inverse @ v, eta=1.0).step(x_t, *times).numpy()
    x_s, estimate, D_t = step(PiGDM(variance=1.7), Ancestral())
    tau = 1 - S**2 / T**2
    bare = x_s - tau * (estimate - D_t)
    np.testing.assert_allclose(bare + r2 / T**2 * (estimate - D_t), theirs, rtol=1e-10, atol=1e-12)
    assert np.abs(estimate - D_t).max() > 0.1


def test_tmpd(azula):
    from azula.guidance.tmpd import TMPDenoiser
    from azula.sample import DDPMSampler

    denoiser, y, a, x_t, times = azula
    guided = TMPDenoiser(denoiser, y, lambda x: a @ x, STD**2)
    ours, estimate, _ = step(TMPD(), Ancestral())
    np.testing.assert_allclose(estimate, guided(x_t, times[0]).mean.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, DDPMSampler(guided).step(x_t, *times).detach().numpy(), rtol=1e-10, atol=1e-12)
