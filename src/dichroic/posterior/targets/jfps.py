"""Posterior estimates without a derivative of a network."""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Array, Float

from dichroic.diffusion import Denoiser, GaussianDenoiser
from dichroic.posterior.modelled import Model
from dichroic.posterior.targets.guided import GuidedTarget, sum_of

__all__ = ["JFPS"]


class JFPS(GuidedTarget):
    r"""Jacobian-free posterior sampling: moment matching with the covariances that Gaussian sources would have,

    .. math:: D_s + W_s A_s^\top \Big(I + \sum_c A_c W_c A_c^\top\Big)^{-1} r , \qquad
        W_s = \big(S_s^{-1} + \sigma_t^{-2} I\big)^{-1} ,

    with :math:`S_s` the covariance of a source's population. Exact for Gaussian sources. One network evaluation a
    step, no product.

    Source: `jfps` of the library azula; `cov_x` in the programs of Rozet et al., arXiv 2405.13712.
    """

    target: Literal["jfps"] = "jfps"
    """How the likelihood enters."""

    def prepared(self, denoisers: Mapping[str, Denoiser]) -> dict[str, Denoiser]:
        return {s: _Populated.of(s, denoiser) for s, denoiser in denoisers.items()}

    def estimate(self, target, x_t, sigma):
        D = target.denoised(x_t, sigma)
        models = {
            s: Model(*known) for s, d in target.denoisers.items() if (known := d.moments_given(sigma)) is not None
        }
        moved, info = target.system.pull(models, target.residual(D))
        return sum_of(D, moved), info


class _Populated(Denoiser):
    """A denoiser with the Gaussian of its source, which is found before anything is compiled."""

    denoiser: Denoiser
    gauss: GaussianDenoiser

    @classmethod
    def of(cls, s: str, denoiser: Denoiser) -> "_Populated":
        if (found := denoiser.gaussian()) is None:
            raise ValueError(f"target 'jfps' needs the covariance of source {s!r}, and its prior has none")
        return cls(denoiser, found)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.denoiser.shape

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        return self.denoiser(x_t, sigma)

    def moments_given(self, sigma: Float[Array, ""]) -> tuple[Array, Array, Array] | None:
        return self.gauss.moments_given(sigma)
