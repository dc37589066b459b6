"""Contrasts by the kind of data that views hold, what is measured of them, and the baselines that estimate targets."""

from abc import ABC
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Inexact

from dichroic.baselines.base import Baseline
from dichroic.baselines.batches import over_observations
from dichroic.baselines.contrast import Contrast, matching, required_contrasts
from dichroic.problem import Problem, ProblemError, View

__all__ = ["Contrastive", "Kind", "gains", "kind_of", "moments"]

Kind = Literal["image", "series", "vector"]

_SIDE = 5  # pixels: a border of two on either side, and something within
_LENGTH = 16  # entries of a series
_EVEN = 0.5  # standard deviation, over the entries of a series, of the logarithm of their variance


def kind_of(view: View) -> Kind:
    """Images have two axes of at least five pixels. Series are at least 16 numbers along one axis whose variance is
    about the same everywhere, as it is where windows begin anywhere. All else are vectors.
    """
    shape = view.event_shape
    if len(shape) in (2, 3) and min(shape[:2]) >= _SIDE:
        return "image"
    if np.prod(shape) == shape[0] >= _LENGTH:
        variance = moments(view)[1]
        if (variance > 0).all() and np.log(variance).std() < _EVEN:
            return "series"
    return "vector"


def moments(view: View) -> tuple[Inexact[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Mean and variance of every entry, real or complex, over the observations that have it; 0 where none has."""
    seen = np.ones(view.y.shape, bool) if view.observed is None else view.observed
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, view.y, 0).sum(0, dtype=np.result_type(view.y, float)) / count
    return mean, (np.abs(np.where(seen, view.y - mean, 0)) ** 2).sum(0, dtype=float) / count


def gains(view: View, source: str, shape: tuple[int, ...]) -> Float[np.ndarray, " n"]:
    """What becomes of a source that is 1 everywhere: the entry farthest from zero, for every observation.

    It is the amplitude, under whatever moves or spreads light without losing any.
    """
    seen = over_observations(_Uniform(source, tuple(shape)), view).reshape(len(view), -1)
    return seen[np.arange(len(seen)), np.abs(seen).argmax(1)].astype(float)


class _Uniform(eqx.Module):
    source: str = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, observation, _):
        return observation.mixing[self.source](jnp.ones(self.shape))


class Contrastive(Baseline, ABC):
    """A baseline that estimates the target of every contrast; `kinds`, of the data that it takes, of any if none."""

    kinds: ClassVar[tuple[Kind, ...]] = ()

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        cls.contrasts(problem)

    @classmethod
    def contrasts(cls, problem: Problem) -> list[Contrast]:
        """The contrasts of a problem; of some kinds of data, those whose mixtures show the target in its own shape,
        real.

        **Raises:** `ProblemError` when there is none, with the reasons.
        """
        found = required_contrasts(problem, cls.title)
        return _of_kinds(found, problem, cls.kinds, cls.title) if cls.kinds else found

    def estimates(self, problem: Problem, view: str) -> list[str]:
        return [c["target"] for c in matching(self.record["contrasts"], problem, view)]


def _of_kinds(contrasts: list[Contrast], problem: Problem, kinds: tuple[Kind, ...], title: str) -> list[Contrast]:
    found, faults = [], []
    for contrast in contrasts:
        view, shape = problem.views[contrast.mixture], problem.sources[contrast.target].real_shape
        kind = kind_of(problem.views[contrast.background])
        if view.event_shape != shape or np.iscomplexobj(view.y):
            what = f"shows '{contrast.target}' of shape {shape} as {view.y.dtype} of shape {view.event_shape}"
            faults.append(f"view '{contrast.mixture}': {title} needs real data in the shape of the source; it {what}")
        elif kind not in kinds:
            faults.append(f"view '{contrast.background}': {title} needs {' or '.join(kinds)} data; this is {kind} data")
        else:
            found.append(contrast)
    if not found:
        raise ProblemError(faults)
    return found
