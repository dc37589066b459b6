"""One method down to a noise level, and another one from there to the sample."""

from typing import Literal

from pydantic import PositiveFloat, model_validator

from dichroic.posterior.annealed import Sampled
from dichroic.posterior.method import AnyMethod, Method
from dichroic.posterior.moments import MomentMatching

__all__ = ["Handover"]


class Handover(Sampled):
    """Anneals with the method `first` down to the noise level `at`, in standard deviations of the source, from where
    the method `then` takes its `steps`: moment matching, as a rule, which is most exact at small noise.

    Where `then` would end at `at` or above, `first` goes to the end by itself.
    """

    kind: Literal["handover"] = "handover"
    first: AnyMethod
    """The method at high noise."""
    then: AnyMethod = MomentMatching(steps=2)
    """The method at low noise."""
    at: PositiveFloat = 0.5
    """Noise level between them, in standard deviations of the source."""

    def legs(self, task, high=None, low=None, *, afresh=False):
        first, then = self._parts
        last, cost = then.legs(task, self.at, low, afresh=afresh)
        begin, shared = first.legs(task, high, self.at if last else low, afresh=afresh)
        return (*begin, *last), cost + shared

    @model_validator(mode="after")
    def _check(self) -> "Handover":
        for method in (self.first, self.then):
            if not isinstance(method, Sampled) or type(method).legs is Sampled.legs:
                raise ValueError(f"method {method.kind!r} does not go through noise levels: nothing can be handed over")
        return self

    @property
    def takes_any_likelihood(self) -> bool:
        return self.first.takes_any_likelihood and self.then.takes_any_likelihood

    @property
    def _parts(self) -> tuple[Sampled, Sampled]:
        assert isinstance(self.first, Sampled) and isinstance(self.then, Sampled)
        return self.first, self.then

    @property
    def runs(self) -> tuple[int, int]:
        return self.first.runs

    @property
    def training(self) -> tuple[int, int]:
        return self.first.training

    def counting(self, cold: int, warm: int, training: int = 1) -> Method:
        return self.model_copy(update={"first": self.first.counting(cold, warm, training)})

    def untrained(self) -> Method:
        first = self.first.untrained()
        return self if first is self.first else first

    @property
    def title(self) -> str:
        return f"{self.first.title}; below noise of {self.at:g}, {self.then.title}"
