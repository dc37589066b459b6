"""What every check is given: held-out observations, what is believed about the sources, how much work, and a key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any
from zlib import crc32

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from pydantic import NonNegativeInt, PositiveInt

from dichroic.diagnose.model import Model
from dichroic.diagnose.white import WhiteView, generator
from dichroic.kinds import Settings
from dichroic.problem import Problem
from dichroic.problem.portion import number_held

__all__ = ["Budget", "Case", "Report", "Simulated", "flat"]

Report = Callable[[float], None]  # the share of a check that is done

Work = tuple[PositiveInt, PositiveInt]


class Budget(Settings):
    """How much work the checks may be. Pairs are observations, in all views together, and draws of each.

    `observations`, per view, for what needs one draw of each; `prior`, draws from every prior; `replicates` of every
    observation in the replay.
    """

    observations: PositiveInt = 4096
    prior: PositiveInt = 4096
    replicates: PositiveInt = 15
    fission: Work = (512, 31)
    sbc: Work = (256, 63)
    leakage: Work = (256, 15)
    law: Work = (2048, 4)
    stein: Work = (64, 32)
    maps: Work = (128, 32)
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class Case:
    """One examination. It reads the observations and never changes them.

    **Arguments:** `problem`, held-out observations; `model`; `budget`; `key`; `checks`, how many checks share the
    permitted false alarms.
    """

    problem: Problem
    model: Model
    budget: Budget
    key: PRNGKeyArray
    checks: int = 1

    @cached_property
    def views(self) -> dict[str, WhiteView]:
        """The held-out views, each reduced to the observations that the budget allows."""
        shapes = {s: source.real_shape for s, source in self.problem.sources.items()}
        limit = self.budget.observations
        sizes = {s: prod(shape) for s, shape in shapes.items()}

        return {
            v: WhiteView(view.select(np.arange(min(limit, number_held(view, sizes)))), shapes)
            for v, view in self.problem.views.items()
        }

    def key_for(self, *names: str | int) -> PRNGKeyArray:
        """The key of something by its name: no check depends on which others are made."""
        return jax.random.fold_in(self.key, crc32("/".join(map(str, names)).encode()))

    def rng(self, *names: str | int) -> np.random.Generator:
        """The same as a NumPy generator."""
        return generator(self.key_for(*names))

    def share(self, total: int) -> dict[str, np.ndarray]:
        """`total` observations shared equally between the views, as many as there are: `{view: indices}`."""
        each = max(1, total // len(self.views))
        return {v: np.arange(min(each, len(view))) for v, view in self.views.items()}

    def part_of(self, view: str, rows: np.ndarray) -> WhiteView:
        """Some observations of a view."""
        whole = self.views[view]
        return whole if len(rows) == len(whole) else WhiteView(whole.view.select(rows), whole.shapes)

    def first_draw(self, view: str) -> dict[str, np.ndarray]:
        """One posterior draw of every observation of a view, the same for every check that asks."""
        name = f"first draw {view}"
        if name not in self.memory:
            self.memory[name] = self.model.given(view, self.views[view].view)(self.key_for("first draw", view))
        return self.memory[name]

    @cached_property
    def memory(self) -> dict[str, Any]:
        """What checks share."""
        return {}

    def prior_pool(self, source: str, n: int) -> np.ndarray:
        """`n` flat draws from a prior, shape `(n, d)`, to take units and directions from: no test counts them."""
        name = f"pool {source} {n}"
        if name not in self.memory:
            x = self.model.sample(source, n, self.key_for("pool", source))
            self.memory[name] = flat(x)
        return self.memory[name]

    def simulate(self, name: str, total: int) -> dict[str, "Simulated"]:
        """Observations that the model itself makes: sources from the priors, the user's operators and noise."""
        return {v: self._simulate(name, v, rows) for v, rows in self.share(total).items()}

    def _simulate(self, name: str, view: str, rows: np.ndarray) -> "Simulated":
        white = self.part_of(view, rows)
        x = {s: self.model.sample(s, len(rows), self.key_for(name, view, s)) for s in white.sources}
        return Simulated(x, WhiteView(white.simulated(x, self.rng(name, view, "noise")), white.shapes))


@dataclass(frozen=True)
class Simulated:
    """Observations with the sources behind them, `{source: (n, ...)}`."""

    truth: dict[str, np.ndarray]
    white: WhiteView


def flat(x: np.ndarray) -> np.ndarray:
    """Samples of any shape as vectors, `(n, d)`."""
    return np.asarray(x, float).reshape(len(x), -1)
