"""Priors that are known: from files, from tables that describe them, or as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.algebra import Components, Gaussian
from dichroic.diffusion import Prior, describe_prior
from dichroic.faults import did_you_mean, names
from dichroic.problem import Problem
from dichroic.run.folder import RunError

__all__ = ["Known", "complete_priors", "components_for_fit", "known_priors", "populations_of"]

_SAMPLES = 2048
_MOST = 64  # components of a known prior that take part in the components stage of a fit

Known = Prior | str | Path | Mapping[str, Any]
"""A known prior: itself, its file, or a table that describes it."""


def known_priors(given: Mapping[str, Known], problem: Problem) -> dict[str, Prior]:
    """The known priors: read from files, or made from tables that describe them, where such were given.

    **Raises:** `RunError` for what is no prior, or not of a source of the problem.
    """
    known: dict[str, Prior] = {}
    for s, prior in given.items():
        if s not in problem.sources:
            hint = did_you_mean(s, problem.sources)
            raise RunError(f"a known prior was given for '{s}', which is not a source of the problem{hint}")
        source = problem.sources[s]
        try:
            if isinstance(prior, Mapping):
                known[s] = describe_prior(prior, source.real_shape, source.is_complex)
            else:
                known[s] = prior if isinstance(prior, Prior) else Prior.load(prior)
        except (OSError, ValueError) as error:
            raise RunError(f"the known prior of source '{s}': {error}") from error
        if known[s].shape != source.real_shape:
            shape = source.real_shape
            raise RunError(f"the known prior of source '{s}' has shape {known[s].shape}, the source {shape}")
    return known


def complete_priors(given: Mapping[str, Known], problem: Problem) -> dict[str, Prior]:
    """The known priors of a problem that is to be separated without a fit.

    **Raises:** `RunError` where the prior of a source is not said.
    """
    known = known_priors(given, problem)
    if missing := [s for s in problem.sources if s not in known]:
        raise RunError(
            f"no prior is said of {names(missing)}: to separate without a fit, say prior = ... of every source in the "
            "problem file; to learn it, say dichroic fit"
        )
    return known


def populations_of(priors: Mapping[str, Prior], key: PRNGKeyArray) -> dict[str, Gaussian]:
    """The Gaussians with the moments of known priors, by their draws."""
    return {s: _population(prior, key) for s, prior in priors.items()}


def components_for_fit(prior: Prior) -> Components | None:
    """A known prior as components, where these are few enough to be combined with those of other sources."""
    found = prior.components()
    return found if found is not None and len(found) <= _MOST else None


def _population(prior: Prior, key: PRNGKeyArray) -> Gaussian:
    x = np.asarray(prior.sample(_SAMPLES, key=key)).reshape(_SAMPLES, -1)
    return Gaussian.of(x.mean(0, dtype=float), np.cov(x.T, dtype=float).reshape(x.shape[1], x.shape[1]))
