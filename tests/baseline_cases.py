"""Problems on which the baselines can be fitted in seconds, and settings for that."""

import numpy as np

from dichroic import Dense, PerSample, Problem, Source, View
from dichroic.baselines import BASELINES
from dichroic.baselines.coders import MLPCoderConfig
from dichroic.diffusion import TrainingConfig

SMALL = {
    # trained in earnest: what it learned is looked at as well
    "clvm-vae": {
        "components": 1,
        # what is behind a LayerNorm is bounded, and these sources are not
        "network": MLPCoderConfig(width=32, depth=1, dropout=0.0, normalise=False),
        "training": TrainingConfig(steps=2000, batch=64, rate=5e-3),
    },
    "wiener": {"gaussian": {"laps": 4}},
    "fastica": {"paired": True},
    "nmf": {"paired": True},
}
SIZES = {"clvm-vae": 1000, "fastica": 300, "nmf": 300}  # observations of those that need more than 40


def small_config(name: str, **changes):
    """Settings that fit in no time."""
    return BASELINES[name].Config.model_validate({**SMALL.get(name, {}), **changes})


def problem_for(name: str, n: int = 40, seed: int = 0) -> Problem:
    """A problem that the method is applicable to."""
    if name in ("border-median", "stationary-wiener"):
        return half_amplitude(n, seed, shape=(6, 5, 1))
    return channels(n, seed) if name in ("fastica", "nmf") else half_amplitude(n, seed)


def without_truth(problem: Problem) -> Problem:
    """What a method may see."""
    views = {name: View(v.y, v.mixing, v.noise, v.observed) for name, v in problem.views.items()}
    return Problem(problem.sources, views)


def half_amplitude(n: int, seed: int = 0, std: float = 0.1, shape: tuple[int, ...] = (4,)) -> Problem:
    """Background `sky` alone, and `sky` with a target `star` at half its amplitude; both lie on lines."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(5)
    directions, _ = np.linalg.qr(fixed.normal(size=(int(np.prod(shape)), 2)))
    background, under = (1.5 * rng.normal(size=(2, n, 1)) * directions[:, 0]).reshape(2, n, *shape)
    star = (2 * rng.normal(size=(n, 1)) * directions[:, 1]).reshape(n, *shape)
    noise = std * rng.normal(size=(2, n, *shape))
    data = [x.astype(np.float32) for x in (background + noise[0], under + 0.5 * star + noise[1])]
    return Problem(
        {"sky": Source(shape), "star": Source(shape)},
        {
            "empty": View(data[0], {"sky": 1.0}, std, truth={"sky": background}),
            "both": View(data[1], {"sky": 1.0, "star": 0.5}, std, truth={"sky": under, "star": star}),
        },
    )


def matrices(n: int, seed: int = 0, std: float = 0.2, amplitude: float = 0.5, missing: bool = False) -> Problem:
    """The same design through a matrix for every observation, three numbers of five, some of them missing."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(6)
    mean, W = fixed.normal(size=(2, 5)), fixed.normal(size=(2, 2, 5))
    views = {}
    for name, names in (("empty", ["sky"]), ("both", ["sky", "star"])):
        A = rng.normal(size=(n, 3, 5))
        truth = {s: mean[i] + rng.normal(size=(n, 2)) @ W[i] for i, s in enumerate(names)}
        gains = {"sky": 1.0, "star": amplitude}
        y = sum(gains[s] * np.einsum("nij,nj->ni", A, x) for s, x in truth.items()) + std * rng.normal(size=(n, 3))
        if missing:
            y[rng.random(y.shape) < 0.2] = np.nan
            y[:, 0] = np.where(np.isnan(y).all(1), 0.0, y[:, 0])
        mixing = {s: PerSample(Dense(gains[s] * A)) for s in names}
        views[name] = View(y, mixing, std, truth=truth)
    return Problem({"sky": Source((5,)), "star": Source((5,))}, views)


def channels(n: int, seed: int = 0, std: float = 0.01) -> Problem:
    """Three paired views, each of both sources in amplitudes of its own; many values show one source alone."""
    rng = np.random.default_rng(seed)
    x = {s: (rng.random((n, 6)) < 0.6) * rng.exponential(size=(n, 6)) for s in ("a", "b")}
    gains = np.array([[1.0, 0.05], [0.05, 1.0], [0.8, 0.8]])
    views = {
        f"channel{c}": View(
            (a * x["a"] + b * x["b"] + std * rng.normal(size=(n, 6))).astype(np.float32),
            {"a": float(a), "b": float(b)},
            std,
            truth=x,
        )
        for c, (a, b) in enumerate(gains)
    }
    return Problem({s: Source((6,)) for s in x}, views)
