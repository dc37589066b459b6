"""What learning by the law of the mixtures takes: a few steps of every kind, timed after they are compiled."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.closed import gaussian_em
from dichroic.law import Contrast, MixturesConfig
from dichroic.law.conditional import ViewDenoiser, evidence
from dichroic.law.critic import CriticConfig, FlowConfig, Judged
from dichroic.law.descent import Descent
from dichroic.law.regression import Regression
from dichroic.law.rounds import LEVELS, draw_all, has_half, held_rows
from dichroic.problem import Problem
from dichroic.run.mixtures import shortened
from dichroic.run.widths import DRAWS, PAIRS
from dichroic.settings import FitConfig

__all__ = ["MixturesTimes", "time_mixtures"]

_STEPS = 8  # timed
_BATCH = 64  # observations whose draws are timed


@dataclass(frozen=True)
class MixturesTimes:
    """Seconds: `gaussian`, of the stage before; `regression` and `denoiser`, of an optimiser step; `alone` and
    `moving`, of a step of the critic; `evidence` and `draw`, of the first estimate and of a draw of one observation;
    `compiling`, of all of them. `weights`, bytes of the networks.
    """

    gaussian: float
    regression: float
    denoiser: float
    alone: float
    moving: float
    evidence: float
    draw: float
    compiling: float
    weights: int

    def seconds(self, config: MixturesConfig, observations: int) -> dict[str, float]:
        """By phase, at most: critics and flows stop by themselves."""
        alone = config.alone[1] * self.alone
        return {
            "first estimate": config.start_steps * self.regression + observations * self.evidence,
            "flows of the pool": config.rounds * (alone + config.moves * self.moving),
            "conditional denoiser": config.rounds * (config.steps * self.denoiser + config.pairs * self.evidence),
            "draws of the pool": config.rounds * observations * (self.draw + self.evidence),
            "last judge": 2 * alone,
            "widths of draws": PAIRS * (DRAWS * self.draw + self.evidence),
            "prior": config.start_steps * self.denoiser,
        }


def time_mixtures(contrast: Contrast, problem: Problem, fit: FitConfig, report: Callable[[str], None]) -> MixturesTimes:
    """Times the pieces through the functions that a fit calls; networks are new, a trained one costs the same."""
    config = fit.mixtures
    key, precise, how = jax.random.key(fit.seed), not has_half(), Descent(_STEPS, config.rate)
    compiling = 0.0
    report("Gaussian stage")
    gaussian = _seconds(lambda: gaussian_em(problem, shortened(fit.gaussian), seed=fit.seed) and None)

    def timed(what: str, run: Callable[[], object], parts: int) -> float:
        nonlocal compiling
        report(what)
        first, second = _seconds(run), _seconds(run)
        compiling += max(first - second, 0.0)
        return second / parts

    regression = Regression.create(contrast, config.network, precise=precise, key=key)
    of_regression = timed(
        "step of the first estimate",
        lambda: regression.trained(contrast, how, batch=config.batch, key=key)[1],
        _STEPS,
    )
    rows = np.arange(_BATCH) % len(contrast)
    y = contrast.y[rows]

    def known():
        return evidence(contrast, regression, y, rows, times=config.backgrounds, key=key)

    of_evidence = timed("first estimates", known, _BATCH)
    pool = np.asarray(jax.random.normal(key, (len(contrast), *contrast.shape)))
    how_to_move = FlowConfig(CriticConfig(config.critic_batch, precise=precise), step=config.move)
    judge = Judged(contrast, pool, held_rows(contrast, config), how_to_move, key)
    critics = []
    for what, move in (("critic alone", 0.0), ("critic and pool", config.move)):
        before = judge.steps
        judge.go(move)
        critics.append(timed(what, lambda move=move: judge.go(move), judge.steps - before))
    given, x = known(), jnp.asarray(pool[rows])
    denoiser = ViewDenoiser.create(contrast, config.network, precise=precise, key=key)
    of_denoiser = timed(
        "step of the conditional denoiser",
        lambda: denoiser.trained(x, given, LEVELS, how, batch=config.batch, key=key)[1],
        _STEPS,
    )
    of_draw = timed("draws", lambda: draw_all(denoiser, given, config.draw_steps, key)[0], _BATCH)
    weights = sum(a.nbytes for a in jax.tree.leaves((regression, denoiser)) if eqx.is_array(a))
    alone, moving = critics
    return MixturesTimes(gaussian, of_regression, of_denoiser, alone, moving, of_evidence, of_draw, compiling, weights)


def _seconds(run: Callable[[], object]) -> float:
    begin = perf_counter()
    jax.block_until_ready(run())
    return perf_counter() - begin
