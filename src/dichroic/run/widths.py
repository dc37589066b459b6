r"""Whether the draws of a learned posterior are as wide as they are wrong, as far as that can be seen without a truth.

Mixtures are simulated with sources `x` of the last pool, which the denoiser was not trained on, and drawn from `L`
times. With the mean :math:`\bar x` and the variance `v` of the draws of a mixture, the error over the posterior
deviation is `z`,

.. math:: z^2 = \frac{\overline{(x - \bar x)^2}}{(1 + 1/L)\, \overline{v}} ,

1 where draws are right, and intervals hold what they say. The pool is what was learned: by how much it is off itself
does not show, so that real errors are larger than these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic.law import Contrast, MixturesConfig, Rounds
from dichroic.law.rounds import draw_all, new_pairs
from dichroic.metrics import coverage
from dichroic.run.judged import used

__all__ = ["DRAWS", "PAIRS", "Widths", "widths", "widths_of"]

PAIRS, DRAWS = 128, 19  # an interval of 90 % needs so many draws
_REAL = 1.5  # real errors over simulated ones, where the truth was known: 1.41 of speech, 1.52 of digits over grass


@dataclass(frozen=True)
class Widths:
    """The draws of a source of a view beside their errors, on simulated mixtures.

    **Fields:** `inflation`, the rms error over the posterior deviation; `half` and `most`, how much of the truth
    intervals of 50 and 90 % hold.
    """

    view: str
    source: str
    inflation: float
    half: float
    most: float

    @property
    def sentence(self) -> str:
        """What is to be said of it: always something, for real errors have been larger than simulated ones."""
        return (
            f"View “{self.view}”: do not take intervals of “{self.source}” as they are. On mixtures simulated from "
            f"what was learned errors are {self.inflation:.2f} times the posterior deviation, and intervals of 50 and "
            f"90 % hold {self.half:.0%} and {self.most:.0%} of the truth; where the truth was known, real errors were "
            f"{_REAL:g} times the simulated ones. Trust the means; take deviations {_REAL * self.inflation:.1f} times "
            "as large as they are."
        )


def widths_of(
    contrast: Contrast, state: Rounds, config: MixturesConfig, *, key: PRNGKeyArray
) -> dict[str, dict[str, list[float]]]:
    """As a record keeps it: by view and source the numbers of `Widths`."""
    pairs, draws = jax.random.split(key)
    few = config.model_copy(update={"pairs": PAIRS})
    x, known = new_pairs(contrast, few, state.regression, state.pool, pairs)
    keys = jax.random.split(draws, DRAWS)
    found = np.stack([draw_all(state.denoiser, known, config.draw_steps, k)[0] for k in keys], axis=1)
    truth = np.asarray(x)
    error, variance = ((found.mean(1) - truth) ** 2).mean(), found.var(1, ddof=1).mean()
    inflation = float((error / ((1 + 1 / DRAWS) * max(variance, np.finfo(float).tiny))) ** 0.5)
    shares = [coverage(found, truth, share) for share in (0.5, 0.9)]
    return {contrast.view: {contrast.source: [inflation, *shares]}}


def widths(records: Sequence[Mapping[str, Any]]) -> list[Widths]:
    """What the records of a fit say of the posteriors that are used in the end."""
    found = used(records).get("widths", {}) if records else {}
    return [Widths(v, s, *numbers) for v, sources in found.items() for s, numbers in sources.items()]
