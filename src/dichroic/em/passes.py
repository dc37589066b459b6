"""The passes of a lap, in order: what is done, over what, how often.

The loop runs them, a plan prices them and the progress bar weighs them. A new phase of a lap is an entry in `PASSES`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dichroic import memory
from dichroic.em.mstep import maximise
from dichroic.em.plan import Stage
from dichroic.em.score import prediction_scores
from dichroic.em.state import Lap
from dichroic.metrics.psnr import psnr
from dichroic.posterior import Bound, Draws, Method, bind_instrument, observation_keys, observation_uniforms
from dichroic.problem import View

__all__ = ["BIND", "CLOCKS", "PASSES", "Diverged", "Pass"]

Report = Callable[[int, int], None]  # report(done, total)


@dataclass(frozen=True)
class Pass:
    """Something that a lap does for each of some sources or views.

    **Fields:** `name`, told to the progress bar before the source or view; `phase`, in a plan; `clock`, whose seconds
    it adds to in a lap's record; `over`, what it ranges over; `run(lap, name, report)`; `draws`, of every observation;
    `continued`, whether they go on from those of the lap before; `first`, whether the lap of the first draws has it,
    too; `hidden`, whether entries are hidden, and the programs so its own.
    """

    name: str
    phase: str
    clock: str
    over: Literal["sources", "views", "held-out views"]
    run: Callable[[Lap, str, Report], None]
    draws: int = 0
    continued: bool = False
    first: bool = True
    hidden: bool = False

    def names(self, stage: Stage, held_out: Collection[str]) -> tuple[str, ...]:
        """The sources or views of a stage, some of which have `held_out` observations."""
        if self.over == "sources":
            return stage.learn
        return stage.views if self.over == "views" else tuple(v for v in stage.views if v in held_out)

    def shares(self, lap: int, method: Method) -> tuple[float, float]:
        """Shares of a draw in a lap from pure noise, and continued; means where chance has a part in it."""
        fresh = method.refresh if self.continued and lap > method.cold_laps else 1.0
        return fresh, 1 - fresh


class Diverged(RuntimeError):
    """Most posterior draws left the range of their sources."""


def _bind(lap: Lap, view: str, report: Report) -> None:
    """Binds the method of the fit to a view.

    What is trained is trained on the draws that the priors of this lap were trained on, and so stands for the same
    populations; before there are any, on draws of the closed-form priors.
    """
    mixed, method = lap.context.problem.views[view], lap.context.config.sampling
    pool, key = None, jax.random.fold_in(lap.key(3, view), 0)
    if lap.number and method.training[0]:
        pooled = {s: lap.pooled(s) for s in mixed.mixing if s in lap.stage.learn}
        # usable ones, repeated to the number of all: one shape, one program, whatever lap
        pool = {s: np.resize(x[usable], x.shape) for s, (x, usable) in pooled.items()}
        for number, (s, x) in enumerate(pool.items()):
            if (augment := lap.context.problem.sources[s].augmentation) is not None:
                keys = jax.random.split(jax.random.fold_in(lap.key(8, view), number), len(x))
                pool[s] = np.asarray(jax.vmap(augment)(jnp.asarray(x), keys))
    shared = {name: unknown.value for name, unknown in mixed.unknowns.items() if not unknown.per_sample}
    known = mixed.at(shared) if shared else mixed
    lap.bounds[view] = bind_instrument(method, known, lap.priors, key=key, pool=pool, report=report)


def _draw(lap: Lap, view: str, report: Report) -> None:
    """Draws the sources of every observation of a view.

    **Raises:** `Diverged` when most draws are useless.
    """
    bound, before = lap.bounds[view], lap.state.draws.get(view)
    lap.draws[view], drawn = _draw_view(lap, view, lap.context.problem.views[view], bound, before, 3, report)
    lap.views[view] = drawn.summary | ({"tried": list(bound.tried)} if bound.tried else {})
    if drawn.diverged.mean() > 0.5:
        raise Diverged(
            f"view '{view}': {drawn.diverged.mean():.0%} of the posterior draws of lap {lap.number} are "
            f"{lap.context.config.sampling.astray}; the noise may be understated, or the training rate too high"
        )


def _draw_held_out(lap: Lap, view: str, report: Report) -> None:
    """Draws the sources of what is held out of a view."""
    assert lap.context.held_out is not None
    held = lap.context.held_out.views[view]
    bound, before = lap.bounds[view].on(held), lap.state.held_out_draws.get(view)
    lap.held_out_draws[view], drawn = _draw_view(lap, view, held, bound, before, 4, report)
    lap.views[view]["held_out"] = drawn.summary | _truth_scores(held, drawn)


def _predict(lap: Lap, view: str, report: Report) -> None:
    """Scores the predictions of hidden entries of what is held out of a view."""
    assert lap.context.held_out is not None
    # the same hidden entries and random numbers at every lap: what differs between laps is the priors
    key = lap.context.key(5, list(lap.context.problem.views).index(view))
    held, method = lap.context.held_out.views[view], lap.context.config.sampling
    lap.scores[view] = prediction_scores(held, lap.priors, method, key=key)
    lap.views[view]["held_out"]["prediction"] = float(lap.scores[view].mean())
    report(1, 1)


def _draw_view(
    lap: Lap, name: str, view: View, bound: Bound, before: Mapping[str, np.ndarray] | None, purpose: int, report: Report
) -> tuple[dict[str, np.ndarray], Draws]:
    """One draw of every observation: warm starts for most, and the one before kept where the new one diverged."""
    method, key = lap.context.config.sampling, lap.key(purpose, name)
    start = warm = None
    if lap.number > method.cold_laps and before is not None:
        start = {s: before[s] for s in view.mixing}
        warm = observation_uniforms(jax.random.fold_in(key, 1), len(view)) >= method.refresh
    keys = observation_keys(jax.random.fold_in(key, 0), len(view))
    drawn = bound.draw(keys, start=start, warm=warm, report=report)
    samples: dict[str, np.ndarray] = dict(drawn.samples)
    if drawn.diverged.any():
        bad = np.flatnonzero(drawn.diverged)
        for s, x in drawn.samples.items():
            samples[s] = memory.by_rows(np.copy, x)
            for block in memory.blocks(len(bad), x[:1].nbytes):
                samples[s][bad[block]] = before[s][bad[block]] if before is not None else 0
    samples["usable"] = ~drawn.diverged
    return samples, drawn


def _truth_scores(view: View, drawn: Draws) -> dict[str, Any]:
    """PSNR of the draws against the truth, where it is known. Never used by the fit."""
    if not view.truth:
        return {}
    known = {s: x for s, x in view.truth.items() if s in drawn.samples}
    return {"psnr": {s: psnr(drawn.samples[s], x, peak=float(np.ptp(x)) or 1.0) for s, x in known.items()}}


BIND = Pass("pairs", "conditional denoisers", "e_step", "views", _bind)
PASSES = (
    Pass("train", "M-step", "m_step", "sources", maximise, first=False),
    BIND,
    Pass("draw", "E-step", "e_step", "views", _draw, draws=1, continued=True),
    Pass("held-out", "held-out draws", "held_out", "held-out views", _draw_held_out, draws=1, continued=True),
    Pass("predict", "prediction", "held_out", "held-out views", _predict, draws=2, hidden=True),
)
CLOCKS = tuple(dict.fromkeys(each.clock for each in PASSES))
