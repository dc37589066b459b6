"""What the data see of a state is theirs, and every step is taken several times."""

from typing import Literal

from pydantic import Field

from dichroic.diffusion import Resampled
from dichroic.posterior.annealed import AnyStep
from dichroic.posterior.targets.guided import GuidedTarget, replaced

__all__ = ["RePaint"]


class RePaint(GuidedTarget):
    """As `Projection`, but the step goes back and is taken again, `jumps` times: what the data see and what the priors
    make of the rest come to agree. So many times the evaluations, `1 + jumps` a step. Better the more jumps, and for
    precise data only.

    Source: Lugmayr et al., CVPR 2022, arXiv 2201.09865, algorithm 1 (masks; with jumps of one step).
    """

    target: Literal["repaint"] = "repaint"
    """How the likelihood enters."""
    step: AnyStep = Field(default_factory=Resampled)
    """How the state gets from one noise level to the next."""

    def settled(self, target, x_s, sigma_s, key):
        return replaced(target, x_s, sigma_s, key)
