"""Designs of every kind, small enough for dense matrices, and what these say about them."""

import jax
import numpy as np

from dichroic import (
    Convolve,
    Dense,
    DenseNoise,
    Downsample,
    FourierSample,
    LinearFunction,
    Mask,
    PerSample,
    Problem,
    Scale,
    Source,
    View,
)
from dichroic.operators import AsComplex, BlockProject, take

RNG = np.random.default_rng(3)
N, SHAPE = 6, (4, 6)
SEEN = RNG.random((N, *SHAPE)) < 0.6
KERNEL = RNG.random((3, 3))


def problem_of(shape, views, n=N, noise=0.1, event=None, dtype=float, **options):
    """Views `{name: {source: operator}}` of random numbers, over sources of one shape."""
    sources = {s: Source(shape) for mixing in views.values() for s in mixing}

    def view(mixing):
        y = RNG.normal(size=(n, *(shape if event is None else event))).astype(dtype)
        return View(y, mixing, noise, **options)

    return Problem(sources, {name: view(mixing) for name, mixing in views.items()})


def numbers(*shape):
    return RNG.normal(size=shape)


def two(x, z, alone=1.0):
    """Both sources in one view, the second one in another too (where `alone` is given)."""
    return {"a": {"x": x, "z": z}, **({"b": {"z": alone}} if alone is not None else {})}


def blocks(factor):
    return BlockProject(factor, (1, 2, 4), (4, 8))


def coarse(shape=SHAPE):
    return Downsample(2, shape)


def rotated():
    return PerSample(Scale(numbers(N) + 1j * numbers(N), (4,))) @ AsComplex((4, 2))


# name: shape of the sources, views, other arguments of `problem_of`, and the route that is expected
CASES = {
    "amplitudes": ((4, 6), two(PerSample(numbers(N)), 1.0, None), {}, "scalar"),
    "masks": (SHAPE, two(PerSample(Mask(SEEN)), Mask(np.ones(SHAPE)), None), {}, "entry by entry"),
    "noise per entry": (SHAPE, two(1.0, 0.3), {"noise": RNG.uniform(0.1, 1, SHAPE)}, "entry by entry"),
    "noise per sample": (
        SHAPE,
        two(PerSample(np.arange(6.0)), 1.0, None),
        {"noise": PerSample(RNG.uniform(0.1, 1, N))},
        "scalar",
    ),
    "missing": (SHAPE, two(1.0, 0.3), {"observed": SEEN}, "entry by entry"),
    "wrap": (SHAPE, two(1.0, Convolve(KERNEL, SHAPE, "wrap")), {}, "frequency by frequency"),
    "channels": (
        (*SHAPE, 2),
        two(Convolve(RNG.random(3), (*SHAPE, 2), "wrap"), Convolve(KERNEL, (*SHAPE, 2), "wrap")),
        {},
        "frequency by frequency",
    ),
    "blocks": ((4, 8), two(blocks(2), blocks(4)), {}, "block level by block level"),
    "blocks per sample": (
        (4, 8),
        two(PerSample(blocks(np.array([1, 2, 4, 2, 1, 4]))), 1.0),
        {},
        "block level by block level",
    ),
    "coarse": (
        SHAPE,
        two(coarse(), Scale(0.7, (2, 3)) @ coarse(), None),
        {"event": (2, 3)},
        "block level by block level",
    ),
    "blur with edges": (SHAPE, two(1.0, Convolve(KERNEL, SHAPE)), {"observed": SEEN}, "dense"),
    "blur per sample": (SHAPE, two(1.0, PerSample(Convolve(RNG.random((N, 3, 3)), SHAPE)), None), {}, "dense"),
    "mask first": (SHAPE, two(coarse() @ PerSample(Mask(SEEN)), coarse(), None), {"event": (2, 3)}, "dense"),
    "Fourier": (
        (6,),
        two(FourierSample(np.array([1, 1, 0, 1, 0, 1.0]), (6,)), PerSample((1 - 2j) * numbers(N)), 1j),
        {"dtype": complex},
        "dense",
    ),
    "complex": ((4, 2), two(AsComplex((4, 2)), rotated(), None), {"event": (4,), "dtype": complex}, "dense"),
    "correlated noise": (
        (3,),
        two(PerSample(Dense(numbers(N, 4, 3))), Dense(numbers(4, 3)), None),
        {"event": (4,), "noise": DenseNoise.from_covariance(0.5 + np.diag([1.0, 2, 3, 4]))},
        "dense",
    ),
    "function": (
        (5, 3),
        two(
            LinearFunction(lambda x, p: x[1:] - x[:-1], (5, 3)),
            LinearFunction(lambda x, p: p * x[1:], (5, 3), PerSample(numbers(N))),
            None,
        ),
        {"event": (4, 3)},
        "dense",
    ),
}


def dense_information(problem):
    """`G_1` over the stacked sources, from the definition: matrices, noise, masks, and the units of the sources."""
    names = list(problem.sources)
    ends = np.cumsum([0, *(problem.sources[s].size for s in names)])
    at = {s: slice(a, b) for s, a, b in zip(names, ends[:-1], ends[1:], strict=True)}
    parts = []
    for view in problem.views.values():
        matrices = {s: _matrices(operator, len(view)) for s, operator in view.mixing.items()}
        total, white, seen = np.zeros((ends[-1], ends[-1])), 0.0, 0
        for i in range(len(view)):
            W = _whitener(view, i)
            M = np.zeros((len(W), ends[-1]), complex)
            for s, A in matrices.items():
                M[:, at[s]] = W @ A[i]
            total += (M.conj().T @ M).real
            white += np.sum(np.abs(W) ** 2)
            seen += W.shape[0] if view.observed is None else view.observed[i].sum()
        parts.append(total / len(view) * seen / white)
    t = np.ones(ends[-1])
    for a in at.values():
        power = max(np.trace(G[a, a]) for G in parts) / (a.stop - a.start)
        t[a] = 1 / np.sqrt(power) if power > 0 else 1.0
    return sum(parts) * t[:, None] * t, at


def _matrices(operator, n):
    shape = take(operator, 0).in_shape
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    with jax.enable_x64(True):
        images = jax.jit(jax.vmap(lambda i: jax.vmap(take(operator, i))(units)))(np.arange(n))
    return np.asarray(images).reshape(n, len(units), -1).swapaxes(1, 2)


def _whitener(view, i):
    noise = view.noise[i] if isinstance(view.noise, PerSample) else view.noise
    seen = np.ones(view.event_shape) if view.observed is None else view.observed[i]
    if isinstance(noise, DenseNoise):
        return np.linalg.inv(np.asarray(noise.factor)) * seen.ravel()[:, None]
    return np.diag((seen / np.broadcast_to(np.asarray(noise.std), view.event_shape)).ravel())
