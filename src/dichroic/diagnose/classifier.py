r"""A small classifier of observations: quadratic in where they are expected to vary, and a network on top.

.. math:: f(y) = a^\top u + b^\top u^2 + \mathrm{net}(y) ,

`u` being the coordinates of an observation in units of their standard deviation among simulated ones. The network is
convolutional for images and series, after every second pixel has become a channel, and dense for vectors. Its weights
are those with the lowest loss on a fifth of what it is trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diagnose.white import WhiteView

__all__ = ["Inputs", "train_and_score"]

_COORDINATES, _ROWS = 48, 512  # the most, and observations that they are found from
_SIDE, _LENGTH = 5, 64  # from which on images and series are seen by convolutions
_WIDTH, _CHANNELS = 64, (32, 32)
_CLIP = 8.0  # standard deviations beyond which an input is far, no matter how far
_STEPS, _CHECKS, _BATCH, _RATE, _DECAY = 400, 20, 64, 2e-3, 1e-2
_CHECKED = 5  # one in so many observations chooses the weights


@dataclass(frozen=True)
class Inputs:
    """What a classifier sees: of every observation itself, first, and of its simulations.

    **Fields:** `coordinates`, shape `(n, 1 + R, q)`; `grid`, shape `(n, 1 + R, ..., channels)`, None for vectors.
    """

    coordinates: np.ndarray
    grid: np.ndarray | None

    @classmethod
    def of(
        cls, white: WhiteView, simulated: list[np.ndarray], unit: np.ndarray, pools: Mapping[str, np.ndarray]
    ) -> "Inputs":
        """**Arguments:** `simulated`, data in units of the noise, each of shape `(n, m)`; `unit`, the same once more,
        from which all units are taken: those that take part would lie closer to their own mean; `pools`, prior draws.
        """
        y = np.stack([white.y, unit, *simulated], 1)
        raw = np.stack([white.view.y, *(white.with_data(z).y for z in [unit, *simulated])], 1)
        flat = raw.reshape(*raw.shape[:2], -1)
        flat = np.concatenate([np.real(flat), np.imag(flat)], -1) if np.iscomplexobj(flat) else flat
        parts = [_principal(flat)]
        if not white.view.shared and white.can_be_dense:
            parts.append(_principal(_expected(white, y, pools)))
        grid = _grid(white, flat)
        kept = [0, *range(2, y.shape[1])]
        return cls(np.concatenate(parts, -1).astype(np.float32)[:, kept], None if grid is None else grid[:, kept])


def _principal(x: np.ndarray) -> np.ndarray:
    """Leading coordinates of `(n, 2 + R, d)` in units of the second of each, and the length of what they leave."""
    z = x[:, 1].astype(float)
    mean, scale = z.mean(0), z.std(0)
    scale = np.maximum(scale, 1e-6 * max(float(scale.max()), 1e-300))
    u = (x - mean) / scale
    _, values, V = np.linalg.svd(u[:_ROWS, 1], full_matrices=False)
    few = min(_COORDINATES, max(1, len(z) // 4))
    kept = np.flatnonzero(values > 1e-4 * values[0])[:few]
    inside = u @ V[kept].T
    parts = [inside / inside[:, 1].std(0)]
    if len(kept) < len(scale):
        # `u` is in standard deviations, as the grid below is in units of the noise: these floors have no unit
        rest = np.log(np.maximum((u**2).sum(-1) - (inside**2).sum(-1), 1e-12))
        parts.append(((rest - rest[:, 1].mean()) / max(float(rest[:, 1].std()), 1e-12))[..., None])
    return np.concatenate(parts, -1)


def _expected(white: WhiteView, y: np.ndarray, pools: Mapping[str, np.ndarray]) -> np.ndarray:
    r"""Where operators differ: the best linear guess of the sources from each observation, and its surprise,

    .. math:: C_s A^\top K (y - A \mu) , \qquad L^\top (y - A \mu) , \qquad K = (I + A C A^\top)^{-1} = L L^\top .
    """
    A = white.matrices()
    mu = np.concatenate([pools[s].mean(0) for s in white.sources])
    ends = np.cumsum([0, *(pools[s].shape[1] for s in white.sources)])
    C = np.zeros((len(mu), len(mu)))
    for s, i, j in zip(white.sources, ends[:-1], ends[1:], strict=True):
        C[i:j, i:j] = np.atleast_2d(np.cov(pools[s].T))
    CA = A @ C  # C is symmetric
    L = np.linalg.cholesky(np.eye(A.shape[1]) + CA @ A.transpose(0, 2, 1))
    r = np.linalg.solve(L, (y - (A @ mu)[:, None]).transpose(0, 2, 1))
    guess = np.linalg.solve(L, CA).transpose(0, 2, 1) @ r
    return np.concatenate([guess, r], 1).transpose(0, 2, 1)


def _grid(white: WhiteView, flat: np.ndarray) -> np.ndarray | None:
    """Images and series with channels last, in units of their standard deviation; what was not observed is marked."""
    shape = white.view.event_shape
    image = len(shape) in (2, 3) and min(shape[:2]) >= _SIDE
    if not image and not int(np.prod(shape)) == shape[0] >= _LENGTH:
        return None
    axes = 2 if image else 1
    per = flat.shape[-1] // int(np.prod(shape))
    x = np.moveaxis(flat.reshape(*flat.shape[:2], per, *shape[:axes], -1), 2, -1)
    x = x.reshape(*x.shape[: 2 + axes], -1)
    z = x[:, 1].reshape(-1, x.shape[-1])
    x = np.clip((x - z.mean(0)) / np.maximum(z.std(0), 1e-30), -_CLIP, _CLIP)
    if white.view.observed is not None:
        seen = np.broadcast_to(white.view.observed.reshape(len(white), 1, *shape[:axes], -1), (*x.shape[:-1], 1))
        x = np.concatenate([np.where(seen, x, 0), seen], -1)
    return _folded(x, axes).astype(np.float32)


def _folded(x: np.ndarray, axes: int) -> np.ndarray:
    """Every second entry along each of the axes becomes a channel."""
    for axis in range(2, 2 + axes):
        x = np.concatenate([x, np.take(x, [-1], axis)], axis) if x.shape[axis] % 2 else x
        x = np.concatenate([np.take(x, range(k, x.shape[axis], 2), axis) for k in (0, 1)], -1)
    return x


class _Classifier(eqx.Module):
    """Scores of a batch: `(B, q)` and `(B, ..., channels)` to `(B,)`; all of them are zero at first."""

    quadratic: Array
    weights: list[Array]
    biases: list[Array]
    head: Array

    def __init__(self, q: int, grid: tuple[int, ...] | None, key: PRNGKeyArray):
        sizes = [q, _WIDTH, _WIDTH] if grid is None else [grid[-1], *_CHANNELS]
        near = 1 if grid is None else 3 ** (len(grid) - 1)
        keys = jax.random.split(key, 2)
        self.weights = [
            jax.random.normal(k, (near * a, b)) * np.sqrt(2 / (near * a))
            for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]
        self.biases = [jnp.zeros(b) for b in sizes[1:]]
        last = sizes[-1] if grid is None else sizes[-1] * int(np.prod([min(side, 2) for side in grid[:-1]]))
        self.quadratic, self.head = jnp.zeros((2, q)), jnp.zeros(last)

    def __call__(self, u: Float[Array, "B q"], x: Array | None) -> Float[Array, " B"]:
        u = jnp.clip(u, -_CLIP, _CLIP)
        a, b = self.quadratic
        h = u if x is None else x
        for W, bias in zip(self.weights, self.biases, strict=True):
            h = jax.nn.gelu((h if x is None else _neighbours(h)) @ W + bias)
        h = h if x is None else _pooled(h)
        return u @ a + (u**2 - 1) @ b + h @ self.head / np.sqrt(len(self.head))


def _neighbours(x: Array) -> Array:
    """Every entry beside those next to it along each of the inner axes, zero beyond the edges: a convolution to be."""
    for axis in range(1, x.ndim - 1):
        pad = [(int(i == axis),) * 2 for i in range(x.ndim)]
        n, padded = x.shape[axis], jnp.pad(x, pad)
        x = jnp.concatenate([jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(3)], -1)
    return x


def _pooled(x: Array) -> Array:
    """Means of the halves along each of the inner axes."""
    for axis in range(1, x.ndim - 1):
        halves = jnp.array_split(x, 2, axis) if x.shape[axis] > 1 else [x]
        x = jnp.concatenate([h.mean(axis, keepdims=True) for h in halves], axis)
    return x.reshape(len(x), -1)


def train_and_score(
    inputs: Inputs, rows: np.ndarray, key: PRNGKeyArray, pairs: np.ndarray | None = None
) -> Float[np.ndarray, "n r"]:
    """Trains on some rows, and scores all: the higher, the more like an observation.

    **Arguments:** `pairs`, shape `(2, P)`, which columns are to be told from which, the higher score first (default:
    the observation from each of its simulations).
    """
    if pairs is None:
        others = np.arange(1, inputs.coordinates.shape[1])
        pairs = np.stack([np.zeros_like(others), others])
    n, checked = len(inputs.coordinates), max(1, len(rows) // _CHECKED)
    # padded: a program serves problems of about the same size
    room = 1 << (n - 1).bit_length()

    def fill(x: np.ndarray | None) -> np.ndarray | None:
        return None if x is None else np.concatenate([x, np.zeros((room - n, *x.shape[1:]), x.dtype)])

    order = np.concatenate([rows, np.zeros(room - len(rows), int)])
    scores = _train(fill(inputs.coordinates), fill(inputs.grid), order, checked, len(rows), pairs, key)
    return np.asarray(scores, float)[:n]


@partial(jax.jit)
def _train(u: Array, x: Array | None, order: Array, checked: Any, count: Any, pairs: Array, key: PRNGKeyArray) -> Array:
    shape = None if x is None else x.shape[2:]
    net = _Classifier(u.shape[-1], shape, jax.random.fold_in(key, 0))
    schedule = optax.cosine_decay_schedule(_RATE, _STEPS)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=_DECAY))

    def both(net: _Classifier, i: Array, p: Array) -> tuple[Array, Array]:
        of = [(u[i, k], None if x is None else x[i, k]) for k in (pairs[0, p], pairs[1, p])]
        return net(*of[0]), net(*of[1])

    def loss(net: _Classifier, i: Array, p: Array) -> Array:
        real, simulated = both(net, i, p)
        return jax.nn.softplus(-real) + jax.nn.softplus(simulated)

    def step(carry, key):
        net, state = carry
        at, which = jax.random.split(key)
        i = order[jax.random.randint(at, (_BATCH,), checked, count)]
        p = jax.random.randint(which, (_BATCH,), 0, pairs.shape[1])
        gradient = jax.grad(lambda net: loss(net, i, p).mean())(net)
        update, state = optimizer.update(gradient, state, net)
        return (eqx.apply_updates(net, update), state), None

    first = order[: len(order) // _CHECKED]  # at least the checked ones

    def held(net: Any) -> Array:
        def one(p):
            terms = loss(net, first, jnp.full(len(first), p))
            return jnp.where(jnp.arange(len(first)) < checked, terms, 0).sum()

        return jax.lax.map(one, jnp.arange(pairs.shape[1])).sum() / (checked * pairs.shape[1])

    def check(carry, key):
        state, best, least = carry
        state, _ = jax.lax.scan(step, state, jax.random.split(key, _STEPS // _CHECKS))
        now = held(state[0])
        best = jax.tree.map(lambda a, b: jnp.where(now < least, a, b), state[0], best)
        return (state, best, jnp.minimum(now, least)), now

    start = ((net, optimizer.init(net)), net, jnp.asarray(jnp.inf))  # pyright: ignore
    (_, best, _), _ = jax.lax.scan(check, start, jax.random.split(jax.random.fold_in(key, 1), _CHECKS))
    # an observation and its simulations are a batch; a few of them at once fit into the cache
    return jax.lax.map(lambda of: best(*of), (u, x), batch_size=_BATCH // 4)
