"""Non-negative matrix factorisation (Lee and Seung, 1999), from scikit-learn, for sources and amplitudes of one sign.

Blind, like `FastICA`: known amplitudes give the components their names and scales. The factors are not unique
unless some values and some channels show each source alone, or nearly so.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from dichroic.baselines.base import Baseline, BaselineConfig
from dichroic.baselines.channels import Channels, assign, channels_of
from dichroic.baselines.size import size_of
from dichroic.problem import Problem, ProblemError

__all__ = ["NMF", "NMFConfig"]

_NEGATIVE = 0.01  # share of the data's power that may lie below zero, by noise


class NMFConfig(BaselineConfig):
    """Settings of `NMF`: `paired`, whether observation `i` of all views shows the same draw of the sources;
    `iterations` and `tolerance` as in scikit-learn.
    """

    paired: bool = False
    iterations: PositiveInt = 1000
    tolerance: PositiveFloat = 1e-5


class NMF(Baseline):
    """NMF over channels: point estimates of all sources; values below zero are taken for zero."""

    name = "nmf"
    title = "NMF"
    Config = NMFConfig
    has_posterior = False

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        _positive(channels_of(problem, (config or NMFConfig()).paired, cls.title))

    @classmethod
    def _fit(cls, problem: Problem, config: NMFConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        from sklearn.exceptions import ConvergenceWarning

        channels = channels_of(problem, config.paired, cls.title)
        # scikit-learn takes factors below 1e-6 for zero, whatever the unit
        unit = float(size_of(channels.data))
        blind = _blind(config, len(channels.sources), seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            blind.fit(np.maximum(channels.data, 0) / unit)
        converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        _, cosines = assign(np.zeros((1, len(channels.sources))), blind.components_.T, channels.gains)
        said = {
            "converged": converged,
            "unit": unit,
            "cosines": dict(zip(channels.sources, cosines.tolist(), strict=True)),
        }
        return {"mixing": blind.components_.T}, said

    def _estimate(self, problem: Problem, view: str, key: Any) -> Mapping[str, Any]:
        from sklearn.decomposition import non_negative_factorization

        channels, unit = channels_of(problem, self.config.paired, self.title), self.record.get("unit", 1.0)
        components, *_ = non_negative_factorization(
            np.maximum(channels.data, 0) / unit,
            H=self.arrays["mixing"].T.copy(),
            n_components=len(channels.sources),  # pyright: ignore[reportArgumentType]
            init="custom",
            update_H=False,
            max_iter=self.config.iterations,
            tol=self.config.tolerance,
        )
        found, _ = assign(unit * components, self.arrays["mixing"], channels.gains)
        n = len(problem.views[view])
        return {s: x.reshape(n, *self.shapes[s]) for s, x in zip(channels.sources, found.T, strict=True)}


def _blind(config: NMFConfig, sources: int, seed: int) -> Any:
    from sklearn.decomposition import NMF as Blind

    options: Any = {"max_iter": config.iterations, "tol": config.tolerance, "random_state": seed}
    return Blind(sources, init="nndsvda", **options)  # pyright: ignore[reportArgumentType]


def _positive(channels: Channels) -> None:
    below = float((np.minimum(channels.data, 0) ** 2).sum() / max((channels.data**2).sum(), 1e-300))
    if below > _NEGATIVE:
        share = f"{below:.1%} of its power is below zero"
        raise ProblemError([f"NMF needs data that is not negative but for noise; {share}"])
    if (channels.gains < 0).any():
        raise ProblemError(["NMF needs amplitudes that are not negative"])
