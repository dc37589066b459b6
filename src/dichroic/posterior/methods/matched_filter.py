"""The matched filter: every source decided by itself, all others being noise to it."""

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.constraint import Constraint, squared_gains
from dichroic.posterior.sampler import Sampler
from dichroic.white import WhitenedObservation

__all__ = ["MatchedFilter", "decided"]


class MatchedFilter(Sampled):
    r"""The sample nearest to :math:`A_s^* y / g_s`, `g` the squared gain, of every source that is discrete.

    The best receiver of one source in white noise: a bit of QPSK symbols of unit power, `h` samples each, is wrong with
    probability :math:`Q(\sqrt{h / \kappa^2})` where the others have the power :math:`\kappa^2` a sample. Sources that
    are not discrete, or whose prior has no denoiser, get what the others leave of the data.
    """

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"
    takes_exact: ClassVar[bool] = True

    kind: Literal["matched_filter"] = "matched_filter"

    def sampler(self, task, *, afresh=False):
        found = {s: prior.denoiser() for s, prior in task.priors.items()}
        known = {s: D for s, D in found.items() if D is not None and D.discrete}
        if not known:
            raise ValueError(f"method {self.kind!r} decides for symbols, and none of these sources is discrete")
        return _Filter(known, task.exact), Cost()


class _Filter(Sampler):
    denoisers: dict[str, Denoiser]
    exact: bool = eqx.field(static=True)

    def draw(self, observation, last, warm, alike, *, key):
        gains, back = squared_gains(observation), observation.adjoint(observation.y)
        u = {s: jnp.zeros(shape, observation.dtype) for s, shape in observation.shapes.items()}
        u |= {s: decided(D, back[s] / gains[s]) for s, D in self.denoisers.items() if s in u}
        if len(u) == len(self.denoisers):
            return u, Info.none()
        rest = {s: 1 / gains[s] for s in u if s not in self.denoisers}
        return Constraint(observation, rest)(u, 0.0 if self.exact else 1.0)

    def cost(self, observation: WhitenedObservation, warm: bool, alike: bool) -> Cost:
        return Cost()

    @property
    def gains(self) -> bool:
        return False


def decided(D: Denoiser, x: Array) -> Array:
    """The sample of a discrete source nearest to `x`."""
    found = D.nearest(x)
    assert found is not None, "a discrete source has samples"
    return found
