r"""Posterior draws in a few evaluations, by a conditional stochastic denoiser trained for a view.

With the Gaussian posterior :math:`\mathcal N(B, C)` of the sources given :math:`x_t` and `y`
(:mod:`~dichroic.posterior.amortised`) and noise `z`,

.. math:: g(z, x_t, \sigma, y) = B + C^{1/2} \big(z + F(\tfrac{x_t}{\sqrt{1 + \sigma^2}}, B, z, \log \sigma)\big),
    \qquad z \sim \mathcal N(0, I) ,

draws from :math:`p(x \mid x_t, y)` where `F` is trained by a proper score. A draw begins at pure noise, where
:math:`x_t` says nothing, and is noised anew and drawn again at each level that follows: with an exact `g` every such
chain is exact, of any length. The last draw is the Gaussian's own, without the network, at the level of the data's
noise: it goes to the data as far as they are known, and next to nowhere else. For Gaussian sources `F = 0` is exact.
"""

from typing import Literal

import jax
import numpy as np
from pydantic import PositiveFloat, PositiveInt

from dichroic.posterior.amortise import OnPairs
from dichroic.posterior.fast_posterior import FastPosterior
from dichroic.posterior.method import Task
from dichroic.posterior.pairs import EnergyScore

__all__ = ["Fast"]

_NOTHING = 1e3  # noise in which nothing of a source is left to see


class Fast(OnPairs):
    """Draws in `evaluations` of a network that is trained for the view, by the energy score, which covers modes.

    What a run distils (`dichroic distill --posterior`) is used only where it is as well calibrated as the run's own
    method. It is not for laps of EM, where a posterior that is a little too narrow takes the prior with it.
    """

    in_laps = False

    kind: Literal["fast"] = "fast"
    evaluations: PositiveInt = 5
    """Evaluations of the network for a draw."""
    lowest: PositiveFloat = 0.1
    """Noise level of the last of them, in standard deviations of the source."""

    def sampler(self, task, *, afresh=False):
        return self.distil(task).sampler, self.train_cost(task)

    def distil(self, task: Task) -> FastPosterior:
        """The posterior of a view, after training.

        **Raises:** `ValueError` when the observations are too large.
        """
        made = self.simulation(task, stochastic=True)
        few = self.evaluations - 1
        levels = np.append(_NOTHING, np.geomspace(1.0, self.lowest, few) if few else []).astype(np.float32)
        score = EnergyScore(made.draws, made.models, made.shared, jax.device_put(levels))
        conditional = self.trained(task, made, score)
        A = np.asarray(made.models.A)
        # a row of the white operators is a source's standard deviation in units of the noise
        noise = float((A**2).sum(-1).mean() ** -0.5)
        through = (*map(float, levels), min(noise, self.lowest / 2))
        scalings = {s: prior.scaling for s, prior in task.priors.items()}
        known = {s: prior.fingerprint() for s, prior in task.priors.items()}
        return FastPosterior(conditional, through, scalings, known, A if made.shared else None)
