"""Successive cancellation: the strongest source decided first, and taken away before the next one is."""

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.constraint import squared_gains
from dichroic.posterior.methods.matched_filter import decided
from dichroic.posterior.sampler import Sampler

__all__ = ["SuccessiveCancellation"]


class SuccessiveCancellation(Sampled):
    r"""In the order of received power, the sample of each source nearest to
    :math:`A_s^* (y - \sum_{r \text{ before}} A_r x_r) / g_s`.

    Free of errors where powers are far apart; a wrong symbol of a strong source is noise to all that come after it.
    """

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"
    takes_exact: ClassVar[bool] = True

    kind: Literal["successive_cancellation"] = "successive_cancellation"

    def sampler(self, task, *, afresh=False):
        denoisers = task.denoisers(self.kind)
        if smooth := [s for s, D in denoisers.items() if not D.discrete]:
            raise ValueError(f"method {self.kind!r} decides for symbols, and source {smooth[0]!r} is not discrete")
        return _Cancellation(denoisers, tuple(denoisers)), Cost()


class _Cancellation(Sampler):
    denoisers: dict[str, Denoiser]
    names: tuple[str, ...] = eqx.field(static=True)

    def draw(self, observation, last, warm, alike, *, key):
        shown = [s for s in self.names if s in observation.shapes]
        gains = squared_gains(observation)
        left = jnp.stack([gains[s] for s in shown])
        u = {s: jnp.zeros(observation.shapes[s], observation.dtype) for s in shown}
        for _ in shown:
            back = observation.adjoint(observation.y - observation.forward(u))
            strongest = jnp.argmax(left)
            for i, s in enumerate(shown):
                u[s] = jnp.where(strongest == i, decided(self.denoisers[s], back[s] / gains[s]), u[s])
            left = left.at[strongest].set(-1.0)
        return u, Info.none()

    def cost(self, observation, warm, alike):
        return Cost()

    @property
    def gains(self) -> bool:
        return False
