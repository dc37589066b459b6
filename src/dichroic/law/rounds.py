r"""Learning a source by the law of the mixtures: no likelihood, no E-step through a prior.

It begins with the estimates of Noisier2Noise (`dichroic.law.regression`) as a pool of samples of the source, one for
each observation. A round moves the pool until its mixtures are hard to tell from the observed ones
(`dichroic.law.critic`), trains the conditional denoiser on pairs simulated from it (`dichroic.law.conditional`), and
takes draws for the observed mixtures as the next pool. Where the design can be learned, equal laws of the mixtures mean
equal sources.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.law.conditional import Known, ViewDenoiser, evidence
from dichroic.law.config import MixturesConfig
from dichroic.law.contrast import Contrast
from dichroic.law.critic import CriticConfig, FlowConfig, flow, separability
from dichroic.law.descent import Descent
from dichroic.law.regression import Regression

__all__ = ["LEVELS", "Progress", "Rounds", "draw_all", "has_half", "held_rows", "rounds", "told_apart"]

LEVELS = (0.06, 16.0)  # noise levels that denoisers are trained and drawn at, in standard deviations of the source
_BATCH = {"cpu": 64}
_MANY = 512

Progress = Callable[[str, int, int], None]  # report(what, done, total)


@dataclass(frozen=True)
class Rounds:
    """What has been learned after some rounds.

    **Fields:** `pool`, one sample of the source for each observation, in scaled units; `records`, a dict per round:
    the areas under the critic's curve before and after the flow, how much power the pool has, losses and seconds.
    """

    pool: Float[np.ndarray, "n ..."]
    regression: Regression
    denoiser: ViewDenoiser
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Rounds made, the start not counted."""
        return len(self.records) - 1


def rounds(
    contrast: Contrast,
    config: MixturesConfig,
    state: Rounds | None = None,
    *,
    key: PRNGKeyArray,
    report: Progress | None = None,
) -> Iterator[Rounds]:
    """The state after the start and after every round.

    Whoever iterates may save what is yielded: continuing from it gives what an uninterrupted run gives.
    """
    say = report or (lambda *_: None)
    if state is None:
        state = _start(contrast, config, jax.random.fold_in(key, 0), say)
        yield state
    while state.done < config.rounds:
        state = _round(contrast, config, state, jax.random.fold_in(key, 1 + state.done), say)
        yield state


def _start(contrast: Contrast, config: MixturesConfig, key: PRNGKeyArray, say: Progress) -> Rounds:
    begin = perf_counter()
    first, second, third, fourth = jax.random.split(key, 4)
    precise = not has_half()
    regression, losses = Regression.create(contrast, config.network, precise=precise, key=first).trained(
        contrast,
        Descent(config.start_steps, config.rate),
        batch=config.batch,
        key=second,
        report=lambda done, total: say("first estimate", done, total),
    )
    say("estimates", 0, 1)
    known = evidence(contrast, regression, contrast.y, np.arange(len(contrast)), times=config.backgrounds, key=third)
    pool = np.asarray(known.estimate)
    denoiser = ViewDenoiser.create(contrast, config.network, precise=precise, key=fourth)
    record = {"loss": _last(losses), "power": power(contrast, pool), "seconds": perf_counter() - begin}
    record["precise"] = precise
    return Rounds(pool, regression, denoiser, [record])


def _round(contrast: Contrast, config: MixturesConfig, state: Rounds, key: PRNGKeyArray, say: Progress) -> Rounds:
    begin = perf_counter()
    flow_key, pair_key, train_key, draw_key = jax.random.split(key, 4)
    say("critic", 0, 1)
    moved = flow(
        contrast,
        state.pool,
        held_rows(contrast, config),
        _flow_config(config, state),
        key=flow_key,
        report=lambda done, total: say("flow of the pool", done, total),
    )
    say("pairs", 0, 1)
    x, known = new_pairs(contrast, config, state.regression, moved.pool, pair_key)
    denoiser, losses = state.denoiser.trained(
        x,
        known,
        LEVELS,
        Descent(config.steps, config.rate),
        batch=config.batch,
        key=train_key,
        report=lambda done, total: say("conditional denoiser", done, total),
    )
    first, second = jax.random.split(draw_key)
    rows = np.arange(len(contrast))
    known = evidence(contrast, state.regression, contrast.y, rows, times=config.backgrounds, key=first)
    pool, _ = draw_all(denoiser, known, config.draw_steps, second, lambda done, n: say("draws", done, n))
    record = {
        "area_before": moved.before,
        "area_after": moved.after,
        "moves": moved.trace[-1][0],
        "use": moved.use,
        "loss": _last(losses),
        "power": power(contrast, pool),
        "seconds": perf_counter() - begin,
    }
    return Rounds(pool, state.regression, denoiser, [*state.records, record])


def new_pairs(
    contrast: Contrast, config: MixturesConfig, regression: Regression, pool: np.ndarray, key: PRNGKeyArray
) -> tuple[jax.Array, Known]:
    """Sources and what is known of their simulated observations."""
    member, row, draw, estimate = jax.random.split(key, 4)
    n = config.pairs
    x = jnp.asarray(pool)[jax.random.randint(member, (n,), 0, len(pool))]
    rows = jax.random.randint(row, (n,), 0, len(contrast))
    keys = jax.random.split(draw, n)
    y = jnp.concatenate(
        [_mixed(contrast, x[b : b + _MANY], rows[b : b + _MANY], keys[b : b + _MANY]) for b in range(0, n, _MANY)]
    )
    return x, evidence(contrast, regression, y, rows, times=config.backgrounds, key=estimate)


@eqx.filter_jit
def _mixed(contrast: Contrast, x: jax.Array, rows: jax.Array, keys: jax.Array) -> jax.Array:
    return jax.vmap(contrast.mixed)(x, rows, keys)


def draw_all(
    denoiser: ViewDenoiser, known: Known, steps: int, key: Array, report: Callable[[int, int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A draw of every observation, by a key of its own (or made of the one given), and posterior means; scaled."""
    n, batch = len(known.kind), _BATCH.get(jax.default_backend(), _MANY)
    levels = np.geomspace(LEVELS[1], LEVELS[0], steps)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n)) if key.ndim == 0 else key
    draws, means = [], []
    for begin in range(0, n, batch):
        at = np.minimum(np.arange(begin, begin + batch), n - 1)
        draw, mean = denoiser.draw(jax.tree.map(lambda a, at=at: a[at], known), levels, keys[at])
        draws.append(np.asarray(draw))
        means.append(np.asarray(mean))
        if report is not None:
            report(min(begin + batch, n), n)
    return np.concatenate(draws)[:n], np.concatenate(means)[:n]


def held_rows(contrast: Contrast, config: MixturesConfig) -> np.ndarray:
    """Observations that no critic learns from: the same in all rounds, or the last judge would know some of them."""
    return np.asarray(jax.random.permutation(jax.random.key(0), len(contrast)))[: min(config.held, len(contrast) // 5)]


def told_apart(contrast: Contrast, config: MixturesConfig, pool: np.ndarray, *, key: PRNGKeyArray) -> float:
    """How well mixtures simulated with a pool are told from held-out observations by a fresh critic."""
    how = FlowConfig(CriticConfig(config.critic_batch, precise=not has_half()), warm=config.alone)
    return separability(contrast, pool, held_rows(contrast, config), how, key=key)


def power(contrast: Contrast, pool: np.ndarray) -> float:
    r"""The variance that a pool brings to the mixtures over what the data say it is, :math:`\mathrm{var}\, y -
    \mathrm{var}\, b`: below 1 it is too narrow.
    """
    rows = jnp.arange(min(len(pool), 4 * _MANY))
    signal = np.asarray(_signals(contrast, jnp.asarray(pool)[rows], rows))
    seen = np.ones_like(signal) if contrast.seen is None else np.asarray(contrast.seen)[rows]

    def variance(x: np.ndarray, seen: np.ndarray) -> float:
        mean = (x * seen).sum(0) / np.maximum(seen.sum(0), 1)
        return float((((x - mean) * seen) ** 2).sum() / seen.sum())

    b = np.asarray(contrast.background)
    found = variance(np.asarray(contrast.y)[rows], seen) - variance(b, np.ones_like(b))
    return variance(signal, seen) / max(found, 1e-12 * variance(b, np.ones_like(b)))


@eqx.filter_jit
def _signals(contrast: Contrast, x: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.vmap(contrast.signal)(x, rows)


def _flow_config(config: MixturesConfig, state: Rounds) -> FlowConfig:
    critic = CriticConfig(config.critic_batch, precise=state.regression.precise)
    return FlowConfig(critic, step=config.move, warm=config.alone, most=config.moves)


def has_half() -> bool:
    """Whether the processor multiplies in bfloat16; what does not is slower with it."""
    if jax.default_backend() != "cpu":
        return True
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return any("avx512_bf16" in line for line in file if line.startswith("flags"))
    except OSError:
        return False


def _last(losses: Any) -> float:
    losses = np.asarray(losses)
    return float(losses[-max(1, len(losses) // 10) :].mean())
