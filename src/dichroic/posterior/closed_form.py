"""Exact posterior draws where every prior is a Gaussian or a mixture of them: no sampling steps, no network."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Key

from dichroic.algebra import Components
from dichroic.closed.evidence import Evidence
from dichroic.closed.routes import bind_components, bind_dense
from dichroic.diffusion import Prior
from dichroic.problem import View

__all__ = ["closed_form_draws", "has_closed_form"]

_MOST = 1e13  # floating-point operations for one draw of every observation, above which sampling is the better choice
_MOST_SYSTEMS = 1e12  # the same where observations have systems of their own, which are factorised anew for every draw


def closed_form_draws(
    view: View, priors: Mapping[str, Prior], keys: Key[Array, " n"]
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, " n"]] | None:
    """One exact draw of every observation, and its chi-square per observed value; None where there is no such route."""
    known = {s: priors[s].components() for s in view.mixing}
    bound, components = _route(view, priors, known), {s: mixture for s, mixture in known.items() if mixture is not None}
    if bound is None:
        return None
    samples = bound.draw(components, keys)
    return {s: x.astype(np.float32) for s, x in samples.items()}, bound.chi_square(samples)


def has_closed_form(view: View, priors: Mapping[str, Prior]) -> bool:
    """Whether draws of a view are exact."""
    return _route(view, priors, {s: priors[s].components() for s in view.mixing}) is not None


def _route(view: View, priors: Mapping[str, Prior], known: Mapping[str, Components | None]) -> Evidence | None:
    components = {s: mixture for s, mixture in known.items() if mixture is not None}
    if len(components) < len(known):
        return None
    shapes = {s: priors[s].shape for s in view.mixing}
    bound = bind_components(view, shapes)
    if bound is not None and bound.cost(components) <= _MOST:
        return bound
    return bind_dense(view, shapes, _MOST_SYSTEMS) if all(len(m) == 1 for m in components.values()) else None
