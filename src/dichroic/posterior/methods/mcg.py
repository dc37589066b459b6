"""Manifold-constrained gradients."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat

from dichroic.diffusion import Cost, Step
from dichroic.posterior.methods.dps import Nudged
from dichroic.posterior.targets.guided import Guided, replaced

__all__ = ["MCG"]


class MCG(Guided):
    r"""Manifold-constrained gradients: the move of :class:`DPS` after every step, and then what the data see of the
    state is replaced by theirs, :math:`x_s \leftarrow x_s + A^+ (y + \sigma_s A \epsilon - A x_s)`.

    Data are taken for precise. One network evaluation and one product a step.

    Source: Chung, Sim, Ryu and Ye, NeurIPS 2022, arXiv 2206.00941.
    """

    evaluations: ClassVar[Cost] = Cost(1, 1)
    stability: ClassVar[tuple[str, ...]] = ("steps", "zeta")

    kind: Literal["mcg"] = "mcg"
    zeta: PositiveFloat = 3.0
    """Length of the move towards the data after every step, in standard deviations of a source."""

    @property
    def walk(self) -> Step:
        return Nudged(self.zeta)

    def settled(self, target, x_s, sigma_s, key):
        return replaced(target, x_s, sigma_s, key)
