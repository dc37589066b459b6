"""Settings of a fit. Every command-line flag and every key of the `[fit]` table is one of these fields."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dichroic.closed.components import ComponentsConfig
from dichroic.closed.gaussian import GaussianConfig
from dichroic.diffusion import (
    STEPS,
    AnyNetwork,
    MLPConfig,
    NetworkConfig,
    PredictorCorrector,
    Schedule,
    Step,
    TrainingConfig,
)
from dichroic.em.published import PUBLISHED
from dichroic.problem import View

__all__ = ["PRESETS", "FitConfig", "SamplingConfig", "merge", "preset"]

_SMALL = 16  # data per observation up to which every one is a system of its own
_DENSE = 2048  # data per observation up to which a shared system is factorised

Share = Annotated[float, Field(ge=0, le=1)]


class SamplingConfig(BaseModel):
    """Settings of the E-step.

    A cold draw takes `steps` steps of the method `step` from pure noise. From lap `cold_laps` on, draws start from
    those of the lap before, noised to `restart` (in units of the source's standard deviation), and take `warm_steps`; a
    share `refresh` of the observations, chosen anew every lap, starts from pure noise all the same, against stuck
    modes. `posterior` is the likelihood approximation; `iterations` and `root_iterations` belong to the Krylov one.
    "candidates" makes a mixture of `components` Gaussians of every prior, anneals with it, weighing `tuples`
    combinations at each of at most 8 steps, and takes `finish_steps` of the method `step` with the network (0: none);
    "best" does so where sources are few and small, and "auto" otherwise. "amortised" trains a conditional denoiser for
    every view, anew in every lap: `pair_steps` optimiser steps of `pair_batch` simulated pairs, an MLP of `pair_width`
    units a layer (where the priors are U-Nets and the operators shared, a U-Net like theirs). It anneals with that down
    to the noise level `handover`, from where moment matching takes `finish_steps` (0: it goes to the end).
    With `rounds` above 0, sources are drawn one after the other, each given the others, that many times over (Gibbs
    sampling), and every time from pure noise: the draws of the lap before are then what the others start at, and
    `restart` is of no consequence.
    `batch` is how many observations run side by side (None: chosen by size); results do not depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Literal["ddim", "ancestral", "heun", "pc", "decoupled"] = "decoupled"
    steps: PositiveInt = 24
    warm_steps: PositiveInt = 8
    restart: PositiveFloat = 1.0
    refresh: Share = 0.1
    cold_laps: NonNegativeInt = 2
    posterior: Literal["auto", "exact", "surrogate", "krylov", "candidates", "best", "amortised"] = "auto"
    iterations: PositiveInt = 4
    root_iterations: PositiveInt = 4
    components: PositiveInt = 512
    tuples: PositiveInt = 4096
    finish_steps: NonNegativeInt = 2
    rounds: NonNegativeInt = 0
    handover: PositiveFloat = 0.5
    pair_steps: PositiveInt = 4096
    pair_batch: PositiveInt = 512
    pair_width: PositiveInt = 256
    corrections: PositiveInt = 1
    tau: PositiveFloat = 0.1
    batch: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> "SamplingConfig":
        if self.rounds and self.posterior == "amortised":
            raise ValueError("the amortised posterior draws all sources together; rounds, one after the other: use one")
        return self

    def make_step(self) -> Step:
        """The sampling step these settings describe."""
        if self.step == "pc":
            return PredictorCorrector(self.corrections, self.tau)
        return STEPS[self.step]()

    def options(self, view: View) -> tuple[int, int, bool, int]:
        """How `joint_posterior` is to treat the observations of a view."""
        dense = view.shared and prod(view.event_shape) <= _DENSE
        return self.iterations, self.root_iterations, dense, self.tuples

    def gains_from_sharing(self, view: View) -> bool:
        """Whether the observations of a view, which differ, are better drawn kind by kind.

        The surrogate then factorises one system per noise level, in place of a solve per observation.
        """
        return (
            self.posterior in ("auto", "best", "surrogate")
            and not view.shared
            and _SMALL < prod(view.event_shape) <= _DENSE
        )

    def batch_size(self, shapes: dict[str, tuple[int, ...]]) -> int:
        """Observations per batch: fewer the larger the sources."""
        return self.batch or int(min(512, max(8, 2**16 // max(prod(shape) for shape in shapes.values()))))


class FitConfig(BaseModel):
    """Settings of a fit: stages, laps, network, training, sampling.

    `plan` "joint" learns all sources from all views at once; "sequential" learns one source after the other, each from
    the views that add it to sources already known. `held_out` is the share of every view kept for the stopping rule and
    the scores, when the problem brings no held-out set of its own. `patience` laps without a better held-out score, or
    three in a row with a far worse one, end a stage (0: never). `residual` lets networks learn on top of the
    closed-form denoiser. `allow_unidentified` fits designs that leave something undetermined, too, which are refused
    otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Literal["joint", "sequential"] = "joint"
    laps: PositiveInt | dict[str, PositiveInt] = 16
    seed: NonNegativeInt = 0
    held_out: Share = 0.1
    held_out_limit: PositiveInt = 256
    patience: NonNegativeInt = 6
    residual: bool = True
    allow_unidentified: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    sigma_min: PositiveFloat = 5e-3
    sigma_max: PositiveFloat = 2e1
    gaussian: GaussianConfig = GaussianConfig()
    mixture: ComponentsConfig = ComponentsConfig()
    network: AnyNetwork | None = None
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()
    draws: PositiveInt = 8

    @property
    def schedule(self) -> Schedule:
        """The noise levels, in units of the sources' standard deviations."""
        return Schedule(self.sigma_min, self.sigma_max)

    def network_for(self, shape: tuple[int, ...]) -> NetworkConfig:
        """The network of a source: the one asked for, or an MLP as wide as the source asks for."""
        return self.network or MLPConfig(width=128 if prod(shape) <= 16 else 256 if prod(shape) <= 256 else 1024)

    def laps_of(self, stage: str) -> int:
        """Number of laps of a stage; `laps` may be a table of stage names."""
        return self.laps if isinstance(self.laps, int) else self.laps.get(stage, 16)


PRESETS: dict[str, dict[str, Any]] = {
    "draft": {"laps": 4, "training": {"steps": 512}, "sampling": {"steps": 8, "warm_steps": 4}},
    "standard": {},
    "final": {
        "laps": 48,
        "training": {"steps": 2048},
        "sampling": {"posterior": "best", "steps": 48, "warm_steps": 12},
    },
}


def preset(name: str, overrides: dict[str, Any] | None = None) -> FitConfig:
    """The settings of a preset, or of a published method, with some of them replaced.

    **Raises:** `ValueError` for an unknown preset; pydantic's `ValidationError` for unknown or impossible settings.
    """
    known = PRESETS | PUBLISHED
    if name not in known:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(known)}")
    return FitConfig.model_validate(merge(known[name], overrides or {}))


def merge(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A table laid over another, inner tables entry by entry; one of another `kind` takes the place of the first."""
    merged = dict(base)
    for key, value in other.items():
        before = merged.get(key)
        if (
            isinstance(before, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind") in (None, before.get("kind"))
        ):
            merged[key] = merge(before, value)
        else:
            merged[key] = value
    return merged
