r"""Exact posterior draws where every prior is a Gaussian or a mixture of them: no sampling steps, no network.

Where the populations themselves are not known well, and `K` fits :math:`\theta_k` say how well, a draw is

.. math:: x + \sqrt{\tfrac{K}{K - 1}}\, \big(m_k - \bar m\big), \qquad m_k = \mathrm E[x \mid y, \theta_k], \quad
    \bar m = \tfrac1K \textstyle\sum_k m_k ,

`x` an exact one and `k` any of them: the mean is what it was, and the variance of what is not known of the populations
comes to that given these (`dichroic.closed.refits`).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Literal

import jax
import numpy as np

from dichroic.algebra import Components
from dichroic.closed.evidence import Evidence
from dichroic.closed.routes import NoRoute, bind_components, bind_dense, has_room
from dichroic.diffusion import Cost, Prior
from dichroic.posterior.draws import Draws, far_off
from dichroic.posterior.method import Bound, Method, Task, Wanted
from dichroic.problem import View

__all__ = ["ClosedForm", "closed_form", "stand_in_mean"]

_MOST = 1e13  # floating-point operations for one draw of every observation, above which sampling is the better choice
_MOST_SYSTEMS = 1e12  # the same where observations have systems of their own, which are factorised anew for every draw
_REFIT = 1 << 21  # folded into keys


class ClosedForm(Method):
    """Exact draws, where every prior is a Gaussian or a mixture of them and the view is small enough."""

    kind: Literal["closed_form"] = "closed_form"

    def attach(self, task: Task) -> Bound:
        found = closed_form(self, task)
        if found is None:
            bare = [s for s, prior in task.priors.items() if prior.components() is None]
            why = (
                f"the prior of source {bare[0]!r} is neither a Gaussian nor a mixture of them"
                if bare
                else "these observations are too large or too many for it"
            )
            raise ValueError(f"there is no closed form of the posterior: {why}")
        return found


class Exact(Bound):
    """A view whose draws need no sampling; `central`, the mean in place of every draw."""

    cost, shared = Cost(), Cost()
    dense = True

    def __init__(
        self, method: Method, task: Task, route: Evidence, known: dict[str, Components], central: bool = False
    ):
        self.method, self.task, self.route, self.known, self.exact = method, task, route, known, not central
        self.refits: Sequence[Mapping[str, Components]] = ()
        self.moved: dict[str, np.ndarray] = {}

    def on(self, view: View) -> Bound:
        return self.method.attach(replace(self.task, view=view)).among(self.refits)

    def among(self, refits: Sequence[Mapping[str, Components]]) -> Bound:
        """See `Bound`; populations that a fit does not name are known."""
        if not refits or not self.exact:
            return self
        found = Exact(self.method, self.task, self.route, self.known)
        fits = [{s: fit.get(s, known) for s, known in self.known.items()} for fit in refits]
        means = [self.route.mean(fit) for fit in fits]
        found.refits, scale = refits, (len(fits) / (len(fits) - 1)) ** 0.5
        for s in self.known:
            m = np.stack([mean[s] for mean in means])
            found.moved[s] = scale * (m - m.mean(0))
        return found

    def mean(self) -> dict[str, np.ndarray]:
        return {s: x.astype(np.float32) for s, x in self.route.mean(self.known).items()}

    def drawn(self, wanted: Wanted) -> Draws:
        n = len(wanted.rows)
        if not np.array_equal(wanted.rows, np.arange(len(self.task.view))):
            return self.on(self.task.view.select(wanted.rows)).draw(wanted.keys, report=wanted.report)
        samples = self.route.draw(self.known, wanted.keys) if self.exact else self.route.mean(self.known)
        if self.refits:
            chosen = np.asarray(_chosen(wanted.keys, len(self.refits)))
            samples = {s: x + self.moved[s][chosen, np.arange(n)] for s, x in samples.items()}
        chi_square, none = self.route.chi_square(samples), np.zeros(n)
        samples = {s: x.astype(np.float32) for s, x in samples.items()}
        wanted.report(n, n)
        return Draws(samples, chi_square, none, none.astype(int), far_off(samples, self.task.priors), Cost())


@partial(jax.jit, static_argnums=1)
def _chosen(keys, K: int):
    # apart from what the draws themselves are made of
    return jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, _REFIT), (), 0, K))(keys)


def stand_in_mean(view: View, priors: Mapping[str, Prior]) -> dict[str, np.ndarray] | None:
    """The exact posterior mean where every prior is replaced by the closed form that stands in for it
    (`Denoiser.closed_form`); None where one has none, or there is no such route.
    """
    found = _route(view, {s: priors[s] for s in view.mixing}, _stand_in)
    return None if found is None else found[0].mean(found[1])


def _stand_in(prior: Prior) -> Components | None:
    if (exact := prior.components()) is not None:
        return exact
    denoiser, scaling = prior.denoiser(), prior.scaling
    law = None if denoiser is None else denoiser.closed_form()
    return None if law is None else Components.of(law).scaled(scaling.shift, scaling.scale)


def closed_form(method: Method, task: Task) -> Bound | None:
    """The view of a task with exact draws, on behalf of a method; None where there is no such route."""
    found = _route(task.view, task.priors, lambda prior: prior.components()) if task.view.is_gaussian else None
    return None if found is None else Exact(method, task, *found)


def _route(
    view: View, priors: Mapping[str, Prior], law: Callable[[Prior], Components | None]
) -> tuple[Evidence, dict[str, Components]] | None:
    """The route through a view, and the laws of its sources, of which no matrix is made where it would be too large."""
    shapes = {s: priors[s].shape for s in view.mixing}
    if not has_room(view, shapes):
        return None
    components = {s: found for s, prior in priors.items() if (found := law(prior)) is not None}
    if len(components) < len(priors):
        return None
    several = any(len(mixture) > 1 for mixture in components.values())
    with suppress(NoRoute):
        bound = bind_components(view, shapes)
        if (several or not bound.separate) and bound.cost(components) <= (_MOST_SYSTEMS if bound.separate else _MOST):
            return bound, components
    bound = None if several else bind_dense(view, shapes, _MOST_SYSTEMS)
    return None if bound is None else (bound, components)
