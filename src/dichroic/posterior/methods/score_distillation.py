"""Score distillation: one estimate, along what the priors predict of noise that is added to it."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from dichroic.diffusion import Cost
from dichroic.posterior.alpha_rgs import PUBLISHED_LEVELS, Descent
from dichroic.posterior.annealed import Sampled

__all__ = ["ScoreDistillation"]


class ScoreDistillation(Sampled):
    r"""Score distillation with the sources themselves for a generator: at a level :math:`\sigma_s` of every source and
    step, drawn at random,

    .. math:: g_s = \frac{x_s - D_s(x_s + \sigma_s \epsilon, \sigma_s)}{\sigma_s} = \hat\epsilon - \epsilon ,

    and the data as in :class:`AlphaRGS`: a projection where they have no noise, a proximal step where they have. That
    is its loss weighed by :math:`\sigma_s`, so that large levels count for more and what is no symbol is drawn further
    inwards. It seeks a mode: an *estimate*. One network evaluation a step, no product.

    Source: Poole, Jain, Barron and Mildenhall, ICLR 2023, arXiv 2209.14988, equation 3; for mixtures, Jayashankar et
    al., arXiv 2306.14411, section 2.
    """

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"
    takes_exact: ClassVar[bool] = True

    kind: Literal["score_distillation"] = "score_distillation"
    steps: PositiveInt = 2000
    """Steps."""
    rate: PositiveFloat = 0.9
    """The first step, as a share of the largest stable one at the lowest level."""
    levels: tuple[PositiveFloat, ...] = PUBLISHED_LEVELS
    """Noise levels, in units of the sources."""

    def sampler(self, task, *, afresh=False):
        denoisers = task.denoisers(self.kind)
        data, names = "hard" if task.exact else "proximal", tuple(denoisers)
        core = Descent(denoisers, names, self.levels, self.rate, self.steps, "map", data, 1.0, 1, False, False)
        return core, Cost()

    def counting(self, cold, warm, training=1):
        return self.model_copy(update={"steps": cold})
