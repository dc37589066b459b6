"""Settings of a fit. Every command-line flag and every key of the `[fit]` table is one of these fields."""

import warnings
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from dichroic.closed.components import ComponentsConfig
from dichroic.closed.gaussian import GaussianConfig
from dichroic.diffusion import AnyNetwork, MLPConfig, NetworkConfig, Schedule, TrainingConfig
from dichroic.em.published import PUBLISHED
from dichroic.kinds import Settings
from dichroic.posterior import AnyMethod, Auto, Method
from dichroic.posterior.old_settings import modern

__all__ = ["PRESETS", "FitConfig", "lay_over", "merge", "preset"]

Share = Annotated[float, Field(ge=0, le=1)]


class FitConfig(Settings):
    """Settings of a fit: stages, laps, network, training, sampling.

    `plan` "joint" learns all sources from all views at once; "sequential" learns one source after the other, each from
    the views that add it to sources already known. `held_out` is the share of every view kept for the stopping rule and
    the scores, when the problem brings no held-out set of its own. `patience` laps without a better held-out score, or
    three in a row with a far worse one, end a stage (0: never). `residual` lets networks learn on top of the
    closed-form denoiser. `allow_unidentified` fits designs that leave something undetermined, too, which are refused
    otherwise.
    """

    plan: Literal["joint", "sequential"] = "joint"
    """Learn all sources at once, or one after the other."""
    laps: PositiveInt | dict[str, PositiveInt] = 16
    """Laps of every stage: a number, or numbers by stage, such as grass=8,digit=32."""
    seed: NonNegativeInt = 0
    """Seed of everything random."""
    held_out: Share = 0.1
    """Share of every view kept for the scores, where the problem brings no held-out data."""
    held_out_limit: PositiveInt = 256
    """At most so many held-out observations per view."""
    patience: NonNegativeInt = 6
    """Laps without a better score that end a stage; 0 for never."""
    residual: bool = True
    """Let networks learn on top of the Gaussian stage."""
    allow_unidentified: bool = False
    """Fit a design that leaves something undetermined, too."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks."""
    sigma_min: PositiveFloat = 5e-3
    """Lowest noise level, in standard deviations of a source."""
    sigma_max: PositiveFloat = 2e1
    """Highest noise level."""
    gaussian: GaussianConfig = GaussianConfig()
    components: ComponentsConfig = ComponentsConfig()
    network: AnyNetwork | None = None
    training: TrainingConfig = TrainingConfig()
    sampling: AnyMethod = Auto()
    draws: PositiveInt = 8
    """Posterior draws of every held-out observation at the end."""

    @model_validator(mode="before")
    @classmethod
    def _older(cls, table: Any) -> Any:
        return renamed(table) if isinstance(table, Mapping) else table

    @field_validator("sampling")
    @classmethod
    def _draws(cls, method: Method) -> Method:
        if method.returns != "draws":
            raise ValueError(f"method {method.kind!r} gives one estimate per observation, and EM learns from draws")
        return method

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
    "draft": {"laps": 4, "training": {"steps": 512}, "sampling": {"kind": "auto", "steps": 8, "warm_steps": 4}},
    "standard": {},
    "final": {
        "laps": 48,
        "training": {"steps": 2048},
        "sampling": {"kind": "auto", "candidates": True, "steps": 48, "warm_steps": 12},
    },
}


def preset(name: str, overrides: dict[str, Any] | None = None) -> FitConfig:
    """The settings of a preset, or of a published method, with some of them replaced.

    **Raises:** `ValueError` for an unknown preset; pydantic's `ValidationError` for unknown or impossible settings.
    """
    known = PRESETS | PUBLISHED
    if name not in known:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(known)}")
    return FitConfig.model_validate(lay_over(known[name], overrides or {}))


def lay_over(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """`merge` of settings of a fit, of which the second ones may be those of an older version."""
    other = renamed(other)
    sampling = other.get("sampling")
    if isinstance(sampling, Mapping):
        other = {**other, "sampling": modern(sampling, base.get("sampling"))}
    return merge(base, other)


def renamed(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings as they are called now, with a line for what had another name before."""
    if "mixture" not in table:
        return table
    warnings.warn("settings of an older version: the table 'mixture' became 'components'", stacklevel=2)
    rest = {key: value for key, value in table.items() if key != "mixture"}
    return {**rest, "components": merge(table["mixture"], rest.get("components", {}))}


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
