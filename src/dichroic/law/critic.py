r"""Moving a pool of samples until its mixtures have the law of the observed ones.

A critic `f` learns to tell observations from mixtures simulated with the pool, by the logistic loss and a penalty
:math:`\lambda |\nabla f|^2`, and every sample of the pool moves along :math:`\nabla_x f(A x + b)`, a small step at each
of its visits. Held-out observations, which no critic learns from, say how far this is of use: the area under the curve
of their scores against those of simulations.

**The rule.** The critic learns alone until that area stops rising; then the pool moves. When the area has not fallen
for `patience` moves the step is halved; at the second time it ends, and the pool of least area is kept; or that of the
beginning, where the area has not fallen by more than its standard error.
"""

from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.networks.conv import convolve, dense, fold, kernel
from dichroic.diffusion.networks.layers import linear
from dichroic.law.contrast import Contrast
from dichroic.law.descent import Report, half
from dichroic.law.regression import channels

__all__ = ["Critic", "CriticConfig", "Flow", "FlowConfig", "area_error", "flow", "separability"]

_CHANNELS, _STRIDES = (32, 64, 128, 128), (1, 2, 2, 1)
_SLOPE = 0.2
_EVERY = 25  # steps between two looks at the held-out observations
_READINGS = 3  # of which a mean is taken
_PENALTY, _LAZY = 0.1, 4  # weight of the squared gradient, once in so many steps


class CriticConfig(NamedTuple):
    """How the critic learns, and all that its programs are compiled for."""

    batch: int = 64
    rate: float = 1e-3
    decay: float = 1.0
    precise: bool = False


class FlowConfig(NamedTuple):
    """How to move: steps are in units of the source's standard deviation over the critic's slope."""

    critic: CriticConfig = CriticConfig()
    step: float = 0.4
    patience: int = 150
    warm: tuple[int, int] = (150, 400)  # steps of the critic alone: at least, at most
    most: int = 900


class Flow(NamedTuple):
    """What came of it: the `pool`, areas under the curve `(moves, area)`, before and after; whether it was of `use`."""

    pool: Float[np.ndarray, "n ..."]
    before: float
    after: float
    trace: list[tuple[int, float]]
    use: bool


class Critic(eqx.Module):
    """Four convolutions behind a fold, two of them halving the resolution, and a dense layer."""

    weights: list[Array]
    biases: list[Array]
    last: eqx.nn.Linear
    axes: int = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], *, key: PRNGKeyArray):
        self.axes = axes = len(shape) - 1
        keys = jax.random.split(key, 1 + len(_CHANNELS))
        sizes = [2**axes * shape[-1], *_CHANNELS]
        self.weights = [
            np.sqrt(2.0) * kernel(a, b, axes, key=k) for a, b, k in zip(sizes, sizes[1:], keys, strict=False)
        ]
        self.biases = [jnp.zeros(c) for c in _CHANNELS]
        cells = int(np.prod([-(-side // 8) for side in shape[:axes]]))
        self.last = linear(cells * _CHANNELS[-1], 1, key=keys[-1], scale=0.1)

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, ""]:
        h = fold(jnp.pad(x, [(0, -side % 2) for side in x.shape[: self.axes]] + [(0, 0)]), self.axes)
        for w, b, stride in zip(self.weights, self.biases, _STRIDES, strict=True):
            h = jax.nn.leaky_relu(convolve(h, w, stride) + b, _SLOPE)
        return dense(self.last, h.reshape(-1))[0].astype(jnp.float32)


def _score(critic: Critic, contrast: Contrast, precise: bool, y: Array, i: Array) -> Array:
    seen = [] if contrast.seen is None else [contrast.seen[i]]
    inputs = channels(y, *seen)
    return critic(inputs) if precise else half(critic)(inputs.astype(jnp.bfloat16))


def _mixed_scores(critic: Critic, contrast: Contrast, precise: bool, x: Array, i: Array, keys: Array) -> Array:
    return jax.vmap(lambda x, i, k: _score(critic, contrast, precise, contrast.mixed(x, i, k), i))(x, i, keys)


@eqx.filter_jit(donate="all-except-first")
def _step(fixed, state):
    """One step of the critic, `penalised` or not, and of the pool where `moving`.

    Four programs, for convolutions are slow within conditionals of JAX on a CPU.
    """
    contrast, rows, config, move, penalised, moving = fixed
    critic, moments, pool, key = state
    key, pick, draw, member = jax.random.split(key, 4)
    i = rows[jax.random.randint(pick, (config.batch,), 0, len(rows))]
    p = jax.random.choice(member, len(pool), (config.batch,), replace=False)
    keys = jax.random.split(draw, config.batch)
    x = pool[p]

    def loss(critic: Critic) -> Array:
        real = jax.vmap(lambda i: _score(critic, contrast, config.precise, contrast.y[i], i))(i)
        told = _mixed_scores(critic, contrast, config.precise, x, i, keys)
        total = jax.nn.softplus(-real).mean() + jax.nn.softplus(told).mean()
        return total + _LAZY * _PENALTY / 2 * penalty(critic) if penalised else total

    def penalty(critic: Critic) -> Array:
        def one(i: Array, k: PRNGKeyArray, x: Array) -> Array:
            slope = jax.grad(lambda y: _score(critic, contrast, config.precise, y, i))
            return (jnp.sum(slope(contrast.y[i]) ** 2) + jnp.sum(slope(contrast.mixed(x, i, k)) ** 2)) / 2

        few = config.batch // 4  # of the batch: it is the dearest part
        return jax.vmap(one)(i[:few], keys[:few], x[:few]).mean()

    update, moments = _optimizer(config).update(jax.grad(loss)(critic), moments, critic)
    critic = cast(Critic, optax.apply_updates(cast(Any, critic), update))
    if moving:
        slope = jax.grad(lambda x: _mixed_scores(critic, contrast, config.precise, x, i, keys).sum())(x)
        pool = pool.at[p].set(contrast.clip(x + move * slope))
    return critic, moments, pool, key


def _optimizer(config: CriticConfig) -> optax.GradientTransformation:
    return optax.adamw(config.rate, b1=0.5, b2=0.99, weight_decay=config.decay)


@eqx.filter_jit
def _scores(critic: Critic, contrast: Contrast, config: CriticConfig, pool: Array, rows: Array, key: PRNGKeyArray):
    """Of observations, and of as many simulations."""
    member, draw = jax.random.split(key)
    p = jax.random.choice(member, len(pool), (len(rows),), replace=False)
    keys = jax.random.split(draw, len(rows))
    real = jax.vmap(lambda i: _score(critic, contrast, config.precise, contrast.y[i], i))(rows)
    return real, _mixed_scores(critic, contrast, config.precise, pool[p], rows, keys)


def area(real: Any, simulated: Any) -> float:
    """The area under the curve of two sets of scores: the share of pairs in which the first is the higher."""
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([np.asarray(real), np.asarray(simulated)])
    return float(roc_auc_score(np.arange(len(scores)) < len(real), scores))


def area_error(n: int) -> float:
    """The standard error of an area near one half, of `n` observations and as many simulations."""
    return float(np.sqrt((2 * n + 1) / 12) / n)


class Judged:
    """A critic with its readings: the areas under its curve on held-out observations."""

    def __init__(self, contrast: Contrast, pool: np.ndarray, held: np.ndarray, config: FlowConfig, key: PRNGKeyArray):
        self.contrast, self.config, self.key = contrast, config, key
        self.rows = jnp.asarray(np.setdiff1d(np.arange(len(contrast)), held))
        self.held = jnp.asarray(held)
        example = channels(contrast.y[0], *([] if contrast.seen is None else [contrast.seen[0]]))
        critic, now = Critic(example.shape, key=key), jnp.array(pool, jnp.float32)
        self.state: Any = (critic, _optimizer(config.critic).init(cast(Any, critic)), now, jax.random.fold_in(key, 1))
        self.steps, self.readings = 0, list[float]()

    @property
    def pool(self) -> np.ndarray:
        """The pool as it is now."""
        return np.asarray(self.state[2])

    @property
    def mean(self) -> float:
        """Of the last readings."""
        return float(np.mean(self.readings[-_READINGS:]))

    def go(self, move: float) -> None:
        """Some steps, with moves of that size, and a reading."""
        for _ in range(_EVERY):
            fixed = (self.contrast, self.rows, self.config.critic, jnp.asarray(move, jnp.float32))
            self.state = _step((*fixed, self.steps % _LAZY == 0, move > 0), self.state)
            self.steps += 1
        look = jax.random.fold_in(jax.random.fold_in(self.key, 7), self.steps)
        scores = _scores(self.state[0], self.contrast, self.config.critic, self.state[2], self.held, look)
        self.readings.append(area(*scores))

    def alone(self) -> float:
        """The critic alone, until the area has stopped rising: how well the pool can be told."""
        least, most = self.config.warm
        highest = -np.inf
        while self.steps < most:
            self.go(0.0)
            if self.steps >= least and self.mean <= highest:
                break
            highest = max(highest, self.mean)
        return max(highest, self.mean)


def separability(
    contrast: Contrast, pool: Float[np.ndarray, "n ..."], held: np.ndarray, config: FlowConfig, *, key: PRNGKeyArray
) -> float:
    """How well mixtures simulated with a pool can be told from held-out observations: an area under a curve."""
    return Judged(contrast, pool, held, config, key).alone()


def flow(
    contrast: Contrast,
    pool: Float[np.ndarray, "n ..."],
    held: np.ndarray,
    config: FlowConfig,
    *,
    key: PRNGKeyArray,
    report: Report | None = None,
) -> Flow:
    """Moves a pool, by the rule above.

    **Arguments:** `pool`, in scaled units; `held`, rows of the observations that only judge.
    """
    judged = Judged(contrast, pool, held, config, key)
    before = judged.alone()
    judged.readings.clear()
    kept, least, since, halved, move = judged.pool, np.inf, 0, False, config.step
    trace = [(0, before)]
    for moves in range(_EVERY, config.most + 1, _EVERY):
        judged.go(move)
        trace.append((moves, judged.readings[-1]))
        if report is not None:
            report(moves, config.most)
        if len(judged.readings) >= _READINGS and judged.mean < least:
            least, kept, since = judged.mean, judged.pool, 0
        else:
            since += _EVERY
        if since >= config.patience:
            if halved:
                break
            move, halved, since = move / 2, True, 0
    after = least if np.isfinite(least) else judged.mean
    use = before - after > area_error(len(held))
    return Flow(kept if use else np.asarray(pool, np.float32), before, after, trace, use)
