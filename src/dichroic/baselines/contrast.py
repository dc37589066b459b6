r"""Contrasts: a view that shows one source more than another view does.

The contrastive methods describe one `target` source by what a mixture view has and a background view lacks. They look
at both views through the target's operator. In the mixture that is :math:`A_t`. The background view has no such
operator, and gets the one with which its content appears in the mixture, in units of the target: where target and
background enter the mixture as :math:`A_t = c A_b`, the background view is read as :math:`y = (c A_b)\, x + n`. Without
`c` an amplitude of one half makes the background look four times too weak or too strong.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from dichroic.baselines.batches import over_observations
from dichroic.faults import names
from dichroic.operators import Scale
from dichroic.problem import Problem, ProblemError, View

__all__ = ["Contrast", "find_contrasts", "matching", "required_contrasts"]

_PROBED = 64  # observations that operators are compared on


@dataclass(frozen=True)
class Contrast:
    """One source, the view that shows it among others, and a view of these others."""

    target: str
    mixture: str
    background: str

    def shown(self, problem: Problem) -> frozenset[str]:
        """The sources of the mixture."""
        return frozenset(problem.views[self.mixture].mixing)

    def amplitude(self, problem: Problem) -> float:
        """The `c` of the target's operator against the background's, over root mean squares, in the mixture view."""
        view = problem.views[self.mixture].select(np.arange(min(_PROBED, len(problem.views[self.mixture]))))
        beside = next(iter(problem.views[self.background].mixing))
        shapes = [problem.sources[s].real_shape for s in (self.target, beside)]
        if shapes[0] != shapes[1]:
            raise ProblemError([f"sources '{self.target}' and '{beside}' differ in shape: {shapes[0]} and {shapes[1]}"])
        probe = np.random.default_rng(0).normal(size=(len(view), *shapes[0])).astype(np.float32)
        own, other, cross = (p.sum() for p in over_observations(_Products(self.target, beside), view, probe))
        # operators that have nothing to do with each other have no sign to agree on
        sign = -1.0 if cross < -0.5 * np.sqrt(own * other) else 1.0
        return sign * float(np.sqrt(own / other))

    def through_the_target(self, problem: Problem) -> tuple[View, View]:
        """Mixture and background views that show the target alone, through its operator and its stand-in."""
        mixture, background = problem.views[self.mixture], problem.views[self.background]
        scale = Scale(factor=self.amplitude(problem), in_shape=problem.sources[self.target].real_shape)
        stand_in = next(iter(background.mixing.values())) @ scale
        return _alone(mixture, self.target, mixture.mixing[self.target]), _alone(background, self.target, stand_in)

    def describe(self, problem: Problem) -> dict[str, Any]:
        """For the record of a fit."""
        return {**asdict(self), "shown": sorted(self.shown(problem))}


class _Products(eqx.Module):
    target: str = eqx.field(static=True)
    beside: str = eqx.field(static=True)

    def __call__(self, observation, e, _):
        seen = jnp.asarray(observation.observed)
        a, b = (jnp.where(seen, observation.mixing[s](e), 0) for s in (self.target, self.beside))
        return tuple(jnp.sum((u.conj() * v).real) for u, v in ((a, a), (b, b), (a, b)))


def _alone(view: View, source: str, operator: Any) -> View:
    return View(view.y, {source: operator}, view.noise, view.observed, {}, view.common_mask)


def find_contrasts(problem: Problem) -> list[Contrast]:
    """For every source that has one, a mixture that shows it and a view of all else in that mixture: the smallest."""
    found = []
    for s in problem.sources:
        pairs = [
            Contrast(s, mixture, background)
            for mixture, m in problem.views.items()
            for background, b in problem.views.items()
            if s in m.mixing and set(b.mixing) == set(m.mixing) - {s}
        ]
        if pairs:
            found.append(min(pairs, key=lambda pair: len(problem.views[pair.mixture].mixing)))
    return found


def required_contrasts(problem: Problem, title: str) -> list[Contrast]:
    """The contrasts of a problem.

    **Raises:** `ProblemError` when there is none.
    """
    found = find_contrasts(problem)
    if not found:
        shown = "; ".join(f"'{name}' shows {names(view.mixing)}" for name, view in problem.views.items())
        wanted = "a mixture view and a background view that shows the same sources but one"
        raise ProblemError([f"{title} needs {wanted}; here {shown}"])
    return found


def matching(contrasts: list[Mapping[str, Any]], problem: Problem, view: str) -> list[Mapping[str, Any]]:
    """The recorded contrasts whose mixture shows the sources that a view shows."""
    return [c for c in contrasts if set(c["shown"]) == set(problem.views[view].mixing)]
