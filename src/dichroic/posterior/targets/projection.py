"""What the data see of a state is theirs."""

from typing import Literal

from dichroic.posterior.targets.guided import GuidedTarget, replaced

__all__ = ["Projection"]


class Projection(GuidedTarget):
    r"""Steps of the priors alone, after each of which what the data see of the state is replaced by theirs,

    .. math:: x_s \leftarrow x_s + A^+ \big(y + \sigma_s A \epsilon - A x_s\big) , \qquad A = [A_1 \cdots A_S] .

    Data are taken for precise. Draws are none of the posterior: what the data see is drawn without regard to the rest.
    One network evaluation a step, no product.

    Source: Chung and Ye (Score-MRI), arXiv 2110.05243; for masks, Song et al., arXiv 2011.13456, section 5.
    """

    target: Literal["projection"] = "projection"
    """How the likelihood enters."""

    def settled(self, target, x_s, sigma_s, key):
        return replaced(target, x_s, sigma_s, key)
