"""Gaussian sources whose posterior is known, examined rightly and wrongly."""

import numpy as np

from dichroic import Dense, PerSample, Problem, Source, View
from dichroic.diagnose import Budget, GaussianModel

NAMES, D, NOISE = ("a", "b"), 3, 0.3
SMALL = Budget(
    observations=300,
    prior=600,
    replicates=3,
    fission=(100, 7),
    sbc=(100, 7),
    leakage=(60, 4),
    maps=(20, 4),
    law=(300, 2),
    stein=(32, 12),
)

# what is wrong, and the checks that must notice
FAULTS = {
    "noise too small": ({"noise": 0.6}, ("chi_square", "replay", "law")),
    "noise too large": ({"noise": 1.6}, ("chi_square", "replay", "law")),
    "draws too narrow": ({"width": 0.6}, ("chi_square", "sbc", "tarp", "stein")),
    "draws too wide": ({"width": 1.6}, ("chi_square", "sbc", "tarp", "stein")),
    "prior too narrow": ({"prior": 0.2}, ("chi_square", "replay", "gap", "fission", "law")),
    "prior too wide": ({"prior": 5.0}, ("replay", "gap", "law")),
    "sources swapped": ({"swapped": True}, ("chi_square", "replay", "gap", "law")),
    "operator wrong": ({"operator": 0.4}, ("chi_square", "replay", "law")),
}


def covariances():
    rng = np.random.default_rng(0)
    roots = [rng.normal(size=(D, D)) * scale / np.sqrt(D) for scale in (1.0, 0.4)]
    return {s: L @ L.T + 0.05 * np.eye(D) for s, L in zip(NAMES, roots, strict=True)}


def make_case(
    seed, n=300, rows=10, *, noise=1.0, width=1.0, prior=1.0, swapped=False, operator=0.0, shift=0.0, units=(1.0, 1.0)
):
    """Observations, and what is believed about them; `units` of sources and data, in parts of those of others."""
    source, data = units
    rng, S = np.random.default_rng([seed, rows]), covariances()
    A = rng.normal(size=(n, rows, 2 * D)) / np.sqrt(2 * D)
    true = A + operator * rng.normal(size=A.shape) / np.sqrt(2 * D)
    x = np.concatenate([rng.normal(size=(n, D)) @ np.linalg.cholesky(S[s]).T for s in NAMES], axis=1)
    y = np.einsum("nij,nj->ni", true, x + shift) + NOISE * rng.normal(size=(n, rows))
    blocks = np.split((data / source * A).astype(np.float32), 2, axis=2)
    mixing = {s: PerSample(Dense(block)) for s, block in zip(NAMES, blocks, strict=True)}
    problem = Problem(
        {s: Source((D,)) for s in NAMES}, {"mix": View((data * y).astype(np.float32), mixing, noise * NOISE * data)}
    )
    believed = dict(zip(NAMES, reversed(S.values()), strict=True)) if swapped else S
    model = GaussianModel(
        {s: np.zeros(D) for s in NAMES}, {s: prior * source**2 * C for s, C in believed.items()}, width
    )
    return problem, model
