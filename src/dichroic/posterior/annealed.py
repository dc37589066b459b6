"""Annealing: a sampler walks down through noise levels, and at each of them a target denoises, given the data."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields
from math import inf, prod
from typing import Annotated, Any, ClassVar

import equinox as eqx
from pydantic import Field, PlainSerializer, PositiveFloat, PositiveInt, WrapValidator, model_validator

from dichroic.diffusion import EXACT_SIZE, STEPS, Cost, Decoupled, Denoiser, Schedule, Step, Target
from dichroic.posterior.batched import batched
from dichroic.posterior.linearised import linearised
from dichroic.posterior.method import Bound, Method, Task
from dichroic.posterior.sampler import Build, Chain, Leg, Posterior, Sampler
from dichroic.white import WhitenedObservation

__all__ = ["TARGETS", "Annealed", "Annealing", "AnyStep", "Sampled", "Stepped", "Targeted", "leg", "read_step", "span"]

TARGETS: dict[str, type["Annealed"]] = {}  # how the likelihood enters, by its name; filled in the package

_FAR, _NEAR = 2.5, 0.02  # decoupled draws begin at so many standard deviations, and end at this one


def read_step(value: Any) -> Step:
    """A step from its name in `STEPS`, or from a table of its `kind` and its own settings."""
    if isinstance(value, Step):
        return value
    if not isinstance(value, str | Mapping):
        raise ValueError("expected the name of a step, or a table with its kind and settings")
    table = {"kind": value} if isinstance(value, str) else dict(value)
    kind = table.pop("kind", "decoupled")
    if not isinstance(kind, str) or kind not in STEPS:
        raise ValueError(f"unknown step {kind!r}; known: {', '.join(STEPS)}")
    known = [field.name for field in fields(STEPS[kind])]
    if unknown := [name for name in table if name not in known]:
        raise ValueError(f"step {kind!r} has no setting {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    for name, number in table.items():
        if not isinstance(number, int | float) or not 0 < number < inf:
            raise ValueError(f"step {kind!r}: {name} is to be a positive number, got {number!r}")
    return STEPS[kind](**table)


def write_step(step: Step) -> Any:
    """The name of a step, with its settings where they are not the usual ones."""
    (kind,) = [name for name, cls in STEPS.items() if type(step) is cls]
    settings = asdict(step)
    return kind if settings == asdict(STEPS[kind]()) else {"kind": kind, **settings}


AnyStep = Annotated[Step, WrapValidator(lambda value, _: read_step(value)), PlainSerializer(write_step)]


class Sampled(Method, ABC):
    """A method that draws one observation by itself: others can be made of it."""

    def sampler(self, task: Task, *, afresh: bool = False) -> tuple[Sampler, Cost]:
        """How one observation is drawn from, and what all of them share took; `afresh` as in `legs`."""
        legs, shared = self.legs(task, afresh=afresh)
        return Chain(legs, afresh), shared

    def legs(
        self, task: Task, high: float | None = None, low: float | None = None, *, afresh: bool = False
    ) -> tuple[tuple[Leg, ...], Cost]:
        """The legs of its way from the noise level `high` (None: its own) to `low` (None: the sample), and what they
        share took; none where it begins below `high` ends. `afresh`, whether warm runs start from noise as well.

        **Raises:** `ValueError` where it does not anneal.
        """
        raise ValueError(f"method {self.kind!r} does not go through noise levels: nothing can be handed over")

    def attach(self, task: Task) -> Bound:
        sampler, shared = self.sampler(task)
        shapes = {s: prior.shape for s, prior in task.priors.items()}
        return batched(task.view, task.priors, sampler, shared, self.batch_size(shapes, len(task.view)))


class Stepped(Sampled, ABC):
    """A method whose draws take `steps` steps from pure noise, and `warm_steps` from a draw of the lap before, noised
    to `restart` (in units of the source's standard deviation).
    """

    stability: ClassVar[tuple[str, ...]] = ("steps",)

    steps: PositiveInt = 24
    """Steps of a draw from pure noise."""
    warm_steps: PositiveInt = 8
    """Steps of a draw that continues the one of the lap before."""
    restart: PositiveFloat = 1.0
    """Noise level such a draw starts at, in standard deviations of the source."""

    @property
    def runs(self) -> tuple[int, int]:
        return self.steps, self.warm_steps

    def counting(self, cold: int, warm: int, training: int = 1) -> Method:
        return self.model_copy(update={"steps": cold, "warm_steps": warm})


class Annealing(Stepped, ABC):
    """A method whose `step` can be chosen, one of `STEPS`: a name, or a table of its `kind` and its own settings."""

    step: AnyStep = Field(default_factory=Decoupled)
    """How the state gets from one noise level to the next."""

    @property
    def title(self) -> str:
        name = write_step(self.step)
        name = name if isinstance(name, str) else name["kind"]
        return f"{name}, {self.steps} steps from noise, {self.warm_steps} from an earlier draw"


class Targeted(Stepped, ABC):
    """A method that walks down the noise levels with one target, which it builds of the priors' own denoisers."""

    @abstractmethod
    def build(self, denoisers: dict[str, Denoiser], observation: WhitenedObservation, alike: bool) -> Target:
        """The joint posterior of one observation, as something to denoise.

        **Arguments:** `denoisers`, of the sources that the observation shows, in scaled units; `alike`, whether all
        observations of a batch share operators, noise and mask.
        """

    @property
    @abstractmethod
    def walk(self) -> Step:
        """The step that is taken from level to level."""

    @property
    def turns(self) -> int | None:
        """Of Hamiltonian Monte Carlo at every noise level, where observations are not linear and Gaussian."""
        return 0

    def prepared(self, denoisers: Mapping[str, Denoiser]) -> dict[str, Denoiser]:
        """The denoisers with what is to be known of them before anything is compiled.

        **Raises:** `ValueError` where it cannot be had.
        """
        return dict(denoisers)

    def gains(self, denoisers: dict[str, Denoiser]) -> bool:
        """Whether the target costs less where observations are alike."""
        return False

    def posterior(
        self, denoisers: Mapping[str, Denoiser], observation: WhitenedObservation, schedule: Schedule
    ) -> Posterior:
        """The posterior of a single observation.

        **Raises:** `ValueError` for a source without a denoiser.
        """
        missing = [s for s in observation.shapes if s not in denoisers]
        if missing:
            raise ValueError(f"no prior for source {missing[0]!r}; there are priors for {list(denoisers)}")
        known = {s: denoisers[s] for s in observation.shapes}
        size = max(prod(shape) for shape in observation.shapes.values())
        return Posterior(
            Chain(leg(_Built.of(self, self.prepared(known)), self.walk, self, schedule, size)), observation
        )

    def legs(self, task, high=None, low=None, *, afresh=False):
        build = _Built.of(self, self.prepared(task.denoisers(self.kind)))
        return leg(build, self.walk, self, task.schedule, task.size, high, low, afresh=afresh), Cost()


class Annealed(Annealing, Targeted, ABC):
    """Annealing with the priors' own denoisers. Subclasses say how the likelihood enters: they have a `target`, a name
    in `TARGETS`, settings of their own, and `build`.
    """

    # whether its targets are `MomentTarget`s, which is what some steps ask for
    draws: ClassVar[bool] = False
    any_likelihood = True

    target: str
    """How the likelihood enters."""

    @property
    def walk(self) -> Step:
        return self.step

    @property
    def title(self) -> str:
        return super().title if self.target == "moments" else f"{self.target}, {super().title}"

    @classmethod
    def variant(cls, table: Mapping[str, Any]) -> type[Method]:
        target = table.get("target", "moments")
        if target not in TARGETS:
            raise ValueError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
        return TARGETS[target]

    @classmethod
    def variants(cls) -> list[type[Method]]:
        return list(TARGETS.values())

    @model_validator(mode="after")
    def _drawn(self) -> "Annealed":
        if self.step.draws and not self.draws:
            content = ", ".join(name for name, step in STEPS.items() if not step.draws)
            raise ValueError(
                f"step {write_step(self.step)!r} asks for draws, and target {self.target!r} has only a mean; steps "
                f"that are content with it: {content}"
            )
        return self


class _Built(Build):
    """The targets of a method, with the denoisers as they are now."""

    method: Targeted = eqx.field(static=True)
    denoisers: dict[str, Denoiser]

    @classmethod
    def of(cls, method: Targeted, denoisers: Mapping[str, Denoiser]) -> "_Built":
        # settings that only count are no part of the program
        counts = {"steps": 1, "warm_steps": 1, "restart": 1.0, "batch": None, "cold_laps": 0, "refresh": 0.0}
        return cls(method.model_copy(update=counts), dict(denoisers))

    def __call__(self, observation, alike):
        if (found := linearised(self, observation, self.method.turns)) is not None:
            return found
        return self.method.build({s: self.denoisers[s] for s in observation.shapes}, observation, alike)

    @property
    def gains(self):
        return self.method.gains(self.denoisers)


def leg(
    build: Build,
    step: Step,
    counts: Stepped,
    schedule: Schedule,
    size: int,
    high: float | None = None,
    low: float | None = None,
    *,
    afresh: bool = False,
    bottom: float = 0.0,
) -> tuple[Leg, ...]:
    """The leg of one target, from and to noise levels as in `Sampled.legs`, or none.

    **Arguments:** `size`, numbers in the largest source; `bottom`, the level below which the target is no good.
    """
    top, end = span(schedule, step, size)
    end = max(end, bottom)
    if high is not None:
        top = min(high, schedule.sigma_max)
        if top <= end:
            return ()
    if low is not None:
        low = end = min(low, schedule.sigma_max)
    cold = schedule.levels(counts.steps, top, end)
    if high is not None:
        return (Leg.create(build, step, cold, cold, low),)
    warm = schedule.levels(counts.warm_steps, top if afresh else counts.restart, end)
    return (Leg.create(build, step, cold, warm, low),)


def span(schedule: Schedule, step: Step, size: int) -> tuple[float, float]:
    """The noise levels between which to anneal.

    A decoupled step forgets the state it came from, so what happens far above the source's own scale is lost; and its
    last draw has a spread of its own, so that it can be taken where the posterior has become Gaussian. The variance
    along any direction is at most the number of dimensions.
    """
    if not step.draws:
        return schedule.sigma_max, schedule.sigma_min
    low = _NEAR if size <= EXACT_SIZE else schedule.sigma_min
    return min(schedule.sigma_max, _FAR * size**0.5), min(max(schedule.sigma_min, low), schedule.sigma_max)
