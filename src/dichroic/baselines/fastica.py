r"""Independent component analysis (FastICA; Hyvarinen, 1999), from scikit-learn.

Blind: the known amplitudes are used for nothing but to give the components their names, signs and scales. Means cannot
be told apart blindly; each source gets the least-squares share of the mean of the data.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from dichroic.baselines.base import Baseline, BaselineConfig
from dichroic.baselines.channels import assign, channels_of
from dichroic.problem import Problem

__all__ = ["FastICA", "FastICAConfig"]


_GAUSSIAN = 0.3745672  # mean of log cosh of a unit normal


class FastICAConfig(BaselineConfig):
    """Settings of `FastICA`: `paired`, whether observation `i` of all views shows the same draw of the sources; the
    contrast `function`, `iterations` and `tolerance` as in scikit-learn; `starts`, random ones, of which the least
    Gaussian result is taken: a start half way between two sources stays there.
    """

    paired: bool = False
    function: Literal["logcosh", "exp", "cube"] = "logcosh"
    iterations: PositiveInt = 500
    tolerance: PositiveFloat = 1e-4
    starts: PositiveInt = 4


class FastICA(Baseline):
    """FastICA over channels: point estimates of all sources."""

    name = "fastica"
    title = "FastICA"
    Config = FastICAConfig
    has_posterior = False

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        channels_of(problem, (config or FastICAConfig()).paired, cls.title)

    @classmethod
    def _fit(cls, problem: Problem, config: FastICAConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        from sklearn.decomposition import FastICA as Blind
        from sklearn.exceptions import ConvergenceWarning

        channels = channels_of(problem, config.paired, cls.title)
        fits = []
        for start in range(config.starts):
            blind = Blind(
                len(channels.sources),
                fun=config.function,
                max_iter=config.iterations,
                tol=config.tolerance,
                random_state=config.starts * seed + start,
                whiten="unit-variance",
            )
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                components = np.asarray(blind.fit_transform(channels.data))
            converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
            fits.append((_negentropy(components), converged, blind))
        _, converged, blind = max(fits, key=lambda fit: fit[0])
        mixing = np.asarray(blind.mixing_)
        arrays = {"unmixing": blind.components_, "mixing": mixing, "mean": blind.mean_}
        _, cosines = assign(np.zeros((1, len(channels.sources))), mixing, channels.gains)
        return arrays, {"converged": converged, "cosines": dict(zip(channels.sources, cosines.tolist(), strict=True))}

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        channels = channels_of(problem, self.config.paired, self.title)
        mean = self.arrays["mean"]
        components = (channels.data - mean) @ self.arrays["unmixing"].T
        found, _ = assign(components, self.arrays["mixing"], channels.gains)
        found = found + np.linalg.lstsq(channels.gains, mean, rcond=None)[0]
        n = len(problem.views[view])
        return {s: x.reshape(n, *self.shapes[s]) for s, x in zip(channels.sources, found.T, strict=True)}


def _negentropy(components: np.ndarray) -> float:
    r""":math:`\sum_k (\mathrm E \log\cosh s_k - \mathrm E \log\cosh \nu)^2`, :math:`\nu` a unit normal."""
    return float(((np.log(np.cosh(components)).mean(0) - _GAUSSIAN) ** 2).sum())
