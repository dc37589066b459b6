"""Settings of a fit: every flag and every key of the table `[fit]` is one of these fields. Presets are tables of them.

Published methods are presets, too: what the laps of EM, which are the same, are given to be that method. Numbers of
laps and steps, and the network, belong to an experiment more than to a method, and are to be set with it. What the
papers' programs do otherwise is left out on purpose: the Gaussian stage is exact instead of sampled, linear solves know
nothing of their neighbours in a batch, no observation is dropped for the size of a batch, and the moving average of the
weights ramps up.
"""

import warnings
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from dichroic.closed.components import ComponentsConfig
from dichroic.closed.gaussian import GaussianConfig
from dichroic.diffusion import AnyNetwork, MLPConfig, NetworkConfig, Schedule, TrainingConfig
from dichroic.faults import did_you_mean
from dichroic.kinds import Settings, model_of
from dichroic.law.config import MixturesConfig
from dichroic.posterior import AnyMethod, Auto, Method
from dichroic.posterior.old_settings import modern

__all__ = [
    "PRESETS",
    "PUBLISHED",
    "Drawing",
    "FitConfig",
    "SettingsError",
    "faults",
    "merge",
    "preset",
    "settle",
    "settle_drawing",
]

Share = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T", bound=BaseModel)


class SettingsError(ValueError):
    """Settings that do not exist or are impossible. The message has one line for each."""


class Drawing(Settings):
    """What there is to say of drawing from posteriors alone."""

    sampling: AnyMethod = Auto()
    mean_share: Share = 0.05
    """Monte-Carlo share of the squared error of posterior means above which draws are added; 1 for none."""


class FitConfig(Drawing):
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
    laps: NonNegativeInt | dict[str, NonNegativeInt] = 16
    """Laps of every stage: a number, or numbers by stage, such as grass=8,digit=32; 0 for closed forms alone."""
    law: Literal["auto", "mixtures", "em"] = "auto"
    """How a source is learned that a view shows over what another view shows alone: by the law of the mixtures, by laps
    of EM, or by the first where images or series are large and many enough."""
    mixtures: MixturesConfig = MixturesConfig()
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Seed of everything random."""
    held_out: Share = 0.1
    """Share of every view kept for the scores, where the problem brings no held-out data."""
    held_out_limit: PositiveInt = 256
    """At most so many held-out observations per view."""
    patience: NonNegativeInt = 6
    """Laps without a better score that end a stage; 0 for never."""
    judged: Literal["laps", "ends", "never"] = "ends"
    """Laps whose priors are judged by how well held-out data are told from simulated ones: all of them, the first and
    the one that is used, or none."""
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
    draws: PositiveInt = 8
    """Posterior draws of every held-out observation at the end."""

    @model_validator(mode="before")
    @classmethod
    def _older(cls, table: Any) -> Any:
        return _renamed(table) if isinstance(table, Mapping) else table

    @field_validator("sampling")
    @classmethod
    def _draws(cls, method: Method) -> Method:
        if method.returns != "draws":
            raise ValueError(f"method {method.kind!r} gives one estimate per observation, and EM learns from draws")
        if not method.in_laps:
            raise ValueError(f"method {method.kind!r} is distilled after a fit, and judged before it is used")
        return method

    @model_validator(mode="after")
    def _falls(self) -> "FitConfig":
        if not 1e-18 < self.sigma_min < self.sigma_max < 1e18:  # squares, in single precision
            raise ValueError(
                f"expected sigma_min < sigma_max, between 1e-18 and 1e18, got {self.sigma_min:g} and {self.sigma_max:g}"
            )
        return self

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
        "gaussian": {"refits": 8},
        "training": {"steps": 2048},
        "sampling": {"kind": "auto", "candidates": True, "steps": 48, "warm_steps": 12},
    },
}

_ALWAYS = 1_000_000  # laps, of published methods

# nothing between the Gaussian stage and the networks, which start by themselves; all observations, all laps, the last
# one; every draw from pure noise
_PLAIN = {"law": "em", "patience": 0, "held_out": 0.0, "residual": False, "components": {"components": 1}}
_KRYLOV = {"kind": "annealed", "covariance": "krylov", "iterations": 1}
_PC = {**_KRYLOV, "step": {"kind": "pc", "corrections": 1, "tau": 0.1}}

PUBLISHED: dict[str, dict[str, Any]] = {
    # arXiv 2405.13712, section 5.2: CIFAR-10. Of one source and one view; with more of them it is a joint DDPRISM
    "diem": {
        **_PLAIN,
        "plan": "joint",
        "laps": 32,
        "sigma_min": 1e-3,
        "sigma_max": 100.0,
        "gaussian": {"laps": 16, "ties": 0.0},
        "training": {"steps": 50_000, "batch": 256, "rate": 2e-4, "decay": "constant", "ema": 0.9999},
        "sampling": {**_KRYLOV, "step": "ancestral", "steps": 256, "cold_laps": _ALWAYS},
    },
    # arXiv 2510.05205, tables 2 and 3, the contrastive manifolds: one source after the other
    "ddprism": {
        **_PLAIN,
        "plan": "sequential",
        "laps": 64,
        "sigma_min": 1e-3,
        "sigma_max": 10.0,
        "gaussian": {"laps": 16, "ties": 0.0},
        "training": {"steps": 65_536, "batch": 1024, "rate": 1e-3, "final_rate": 1e-6, "decay": "linear", "ema": 0.0},
        "sampling": {**_PC, "steps": 16_384, "cold_laps": _ALWAYS},
    },
}
# the same with sources drawn in turn; the rounds go on where those of the lap before ended
PUBLISHED["ddprism-gibbs"] = {
    **PUBLISHED["ddprism"],
    "sampling": {
        "kind": "gibbs",
        "rounds": 64,
        "inner": {**_PC, "steps": 256, "warm_steps": 256},
        "cold_laps": 0,
        "refresh": 0.0,
    },
}


def settle(flags: Mapping[str, Any], table: Mapping[str, Any], name: str | None = None) -> FitConfig:
    """One `FitConfig` from what was said: flags come before the table `[fit]`, that before the preset.

    The table may name a preset too, `preset = "draft"`; `name` comes before it.

    **Raises:** `SettingsError`, with a line for every unknown or impossible setting.
    """
    base, given = _said(flags, table, name)
    return _checked(FitConfig, merge(base, given), given)


def settle_drawing(flags: Mapping[str, Any], table: Mapping[str, Any]) -> Drawing:
    """The same of what there is to say where nothing is fitted: methods that give estimates will do, too."""
    base, given = _said(flags, table, None)
    said = merge(base, given)
    return _checked(Drawing, {key: said[key] for key in Drawing.model_fields if key in said}, given)


def _said(
    flags: Mapping[str, Any], table: Mapping[str, Any], name: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The preset, and what lies over it."""
    rest = dict(table)
    in_file = rest.pop("preset", "standard")
    base = _table_of(name or in_file)
    return base, _modern(merge(_modern(rest, base), flags), base)


def _checked(model: type[T], settings: Mapping[str, Any], given: Mapping[str, Any]) -> T:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise SettingsError(faults(model, given, error)) from None


def preset(name: str, overrides: Mapping[str, Any] | None = None) -> FitConfig:
    """The settings of a preset, or of a published method, with some of them replaced.

    **Raises:** `SettingsError` for an unknown preset; pydantic's `ValidationError` for unknown or impossible settings.
    """
    base = _table_of(name)
    return FitConfig.model_validate(merge(base, _modern(overrides or {}, base)))


def _table_of(name: Any) -> dict[str, Any]:
    known = PRESETS | PUBLISHED
    if not isinstance(name, str) or name not in known:
        raise SettingsError(f"preset: unknown preset {name!r}; known: {', '.join(known)}")
    return known[name]


def _modern(table: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Settings to be laid over others, as they are called now; it is said of which kind the sampling is."""
    table, before = _renamed(table), base.get("sampling", {})
    if not isinstance(table.get("sampling"), Mapping):
        return table
    return {**table, "sampling": {"kind": before.get("kind", "auto"), **modern(table["sampling"], before)}}


def _renamed(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are called now, with a line for what had another name before."""
    rest = dict(table)
    if "mixture" in rest:
        warnings.warn("settings of an older version: the table 'mixture' became 'components'", stacklevel=2)
        before, now = rest.pop("mixture"), rest.get("components", {})
        rest["components"] = merge(before, now) if isinstance(before, Mapping) and isinstance(now, Mapping) else before
    return rest


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


def faults(model: type[BaseModel], table: Mapping[str, Any], error: ValidationError) -> str:
    """What is wrong with a table of settings, in their words, a line for each."""
    return "\n".join(dict.fromkeys(_fault(model, table, detail) for detail in error.errors()))


def _fault(model: type[BaseModel], table: Mapping[str, Any], detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    if path[:1] == ["laps"] and len(path) > 1:
        expected = "a number (0: closed forms alone), or numbers by stage such as grass=8,digit=32"
        return f"laps: expected {expected}, got {table['laps']!r}"
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        for name in path[:-1]:
            table = table[name] if isinstance(table.get(name), Mapping) else {}
            model = model_of(model.model_fields[name], table)
        known, where = sorted(model.model_fields), f" of {'.'.join(path[:-1])}" if path[:-1] else ""
        return f"{key}: unknown setting{did_you_mean(path[-1], known) or f'; those{where}: ' + ', '.join(known)}"
    said = detail["msg"].replace("Input should be", "expected").replace("Value error, ", "")
    said = said.replace("a valid integer", "a whole number").replace("a valid ", "a ")
    return f"{key}: {said}, got {detail['input']!r}" if path else said
