"""Settings of a fit as flags, and how flags, the table `[fit]` of the problem file and a preset become one.

The classes mirror `dichroic.em.FitConfig` without importing it, which would import JAX; a test holds the two together.
Values are checked there. A flag that is not given is None here and leaves the setting to the file, the preset or the
default.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Parameter

if TYPE_CHECKING:
    from dichroic.em import FitConfig

__all__ = ["FitFlags", "SettingsError", "settle"]

_Numbers = Annotated[tuple[int, ...] | None, Parameter(consume_multiple=True, negative="")]


class SettingsError(ValueError):
    """Settings that do not exist or are impossible. The message has one line for each."""


@dataclass(kw_only=True)
class GaussianFlags:
    """The Gaussian stage."""

    laps: int | None = None
    """At most so many laps of the Gaussian stage."""
    tolerance: float | None = None
    """Change of the log-likelihood per value below which the Gaussian stage stops."""
    ties: float | None = None
    """Observations per dimension that an isotropic prior of the covariance counts for."""
    rank: int | None = None
    """Directions of a Gaussian covariance, the rest being isotropic."""
    large_rank: int | None = None
    """The same for images too large for dense covariances."""
    large_subset: int | None = None
    """Observations per view for such images."""


@dataclass(kw_only=True)
class ComponentsFlags:
    """The components stage."""

    components: int | None = None
    """At most so many Gaussians per source; 1 for no components stage."""
    laps: int | None = None
    """At most so many laps of EM after components were split."""
    polish: int | None = None
    """At most so many after the last split."""
    ties: float | None = None
    """Observations per dimension that the components' mean covariance counts for at first."""
    subset: int | None = None
    """At most so many observations per view."""
    budget: float | None = None
    """Floating-point operations of a lap above which no component is split."""


@dataclass(kw_only=True)
class NetworkFlags:
    """The network of every source."""

    kind: Literal["mlp", "unet"] | None = None
    """Network of every source."""
    width: int | None = None
    """MLP: units of a layer."""
    depth: int | None = None
    """MLP: hidden layers."""
    conditioning: Literal["concat", "film"] | None = None
    """MLP: how the noise level enters."""
    channels: _Numbers = None
    """U-Net: channels of every level."""
    blocks: _Numbers = None
    """U-Net: residual blocks of every level."""
    heads: _Numbers = None
    """U-Net: attention heads of every level, 0 for none."""
    embedding: int | None = None
    """Size of the embedding of the noise level."""
    dropout: float | None = None
    """Share of units dropped in training."""
    convolution: Literal["auto", "explicit", "library"] | None = None
    """U-Net: how convolutions are computed; changes the time they take, not what they compute."""


@dataclass(kw_only=True)
class TrainingFlags:
    """The M-step."""

    steps: int | None = None
    """Optimiser steps per lap and source."""
    batch: int | None = None
    """Samples per optimiser step."""
    block: int | None = None
    """Samples whose gradients are taken together: fewer take less memory."""
    rate: float | None = None
    """Learning rate at the start of a lap."""
    final_rate: float | None = None
    """Learning rate at the end of a lap."""
    decay: Literal["linear", "cosine", "constant"] | None = None
    """How the rate goes from one to the other."""
    clip: float | None = None
    """Largest norm of a gradient."""
    ema: float | None = None
    """Final decay of the moving average of the weights; 0 takes the last weights."""
    objective: Literal["denoising"] | None = None
    """What is minimised."""


@dataclass(kw_only=True)
class SamplingFlags:
    """The E-step."""

    kind: str | None = None
    """How posteriors are drawn: auto, annealed, closed_form, candidates, amortised, gibbs or handover."""
    batch: int | None = None
    """Observations drawn side by side; changes memory and speed, not results."""
    refresh: float | None = None
    """Share of observations drawn from pure noise at every lap all the same."""
    cold_laps: int | None = None
    """Laps that draw everything from pure noise."""
    step: str | None = None
    """Sampling method of posterior draws: ddim, ancestral, heun, pc or decoupled."""
    steps: int | None = None
    """Steps of a draw from pure noise."""
    warm_steps: int | None = None
    """Steps of a draw that continues the one of the lap before."""
    restart: float | None = None
    """Noise level such a draw starts at, in standard deviations of the source."""
    target: str | None = None
    """Annealed: how the likelihood enters; moments."""
    covariance: str | None = None
    """Annealed: covariances of the sources given a noisy state: auto, exact, surrogate or krylov."""
    iterations: int | None = None
    """Covariance krylov: iterations of a solve."""
    root_iterations: int | None = None
    """Covariance krylov: iterations of a matrix root."""
    candidates: bool | None = None
    """Auto: take candidates where sources are few and small."""
    components: int | None = None
    """Candidates: Gaussians that are made of every prior."""
    tuples: int | None = None
    """Candidates: combinations weighed at every step."""
    finish_steps: int | None = None
    """Auto: steps with the priors' networks after candidates; 0 for none."""
    pair_steps: int | None = None
    """Amortised: optimiser steps of the conditional network, per view and lap."""
    pair_batch: int | None = None
    """Amortised: simulated pairs per optimiser step."""
    pair_width: int | None = None
    """Amortised: units of a layer of the conditional network."""
    rounds: int | None = None
    """Gibbs: rounds in which sources are drawn one after the other."""
    inner: str | None = None
    """Gibbs: the method that draws one source, by its kind."""
    first: str | None = None
    """Handover: the method at high noise, by its kind."""
    then: str | None = None
    """Handover: the method at low noise, by its kind."""
    at: float | None = None
    """Handover: noise level between them, in standard deviations of the source."""


@Parameter(name="*")
@dataclass(kw_only=True)
class FitFlags:
    """Every setting of a fit."""

    plan: Literal["joint", "sequential"] | None = None
    """Learn all sources at once, or one after the other."""
    laps: str | None = None
    """Laps of every stage: a number, or numbers by stage, such as grass=8,digit=32."""
    seed: int | None = None
    """Seed of everything random."""
    held_out: float | None = None
    """Share of every view kept for the scores, where the problem brings no held-out data."""
    held_out_limit: int | None = None
    """At most so many held-out observations per view."""
    patience: int | None = None
    """Laps without a better score that end a stage; 0 for never."""
    residual: bool | None = None
    """Let networks learn on top of the Gaussian stage."""
    allow_unidentified: bool | None = None
    """Fit a design that leaves something undetermined, too."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Precision of the networks."""
    sigma_min: float | None = None
    """Lowest noise level, in standard deviations of a source."""
    sigma_max: float | None = None
    """Highest noise level."""
    draws: int | None = None
    """Posterior draws of every held-out observation at the end."""
    gaussian: GaussianFlags | None = None
    mixture: ComponentsFlags | None = None
    network: NetworkFlags | None = None
    training: TrainingFlags | None = None
    sampling: SamplingFlags | None = None

    def given(self) -> dict[str, Any]:
        """The flags that were given, nested as in the settings.

        **Raises:** `SettingsError` for laps that are neither a number nor numbers by stage.
        """
        given = _without_none(asdict(self))
        if "laps" in given:
            given["laps"] = _laps(given["laps"])
        return given


def settle(flags: Mapping[str, Any], table: Mapping[str, Any], preset: str | None = None) -> "FitConfig":
    """One `FitConfig` from what was said: flags come before the table `[fit]`, that before the preset.

    The table may name a preset too, `preset = "draft"`; the flag comes before it.

    **Raises:** `SettingsError`, with a line for every unknown or impossible setting.
    """
    from pydantic import ValidationError

    from dichroic.em.config import PRESETS, PUBLISHED
    from dichroic.em.config import preset as settings_of
    from dichroic.posterior.old_settings import modern

    rest = dict(table)
    in_file = rest.pop("preset", "standard")
    name = preset or in_file
    known = [*PRESETS, *PUBLISHED]
    if name not in known:
        raise SettingsError(f"preset: unknown preset {name!r}; known: {', '.join(known)}")
    if isinstance(rest.get("sampling"), dict):
        base = (PRESETS | PUBLISHED)[name].get("sampling", {})
        rest["sampling"] = {"kind": base.get("kind", "auto"), **modern(rest["sampling"], base)}
    merged = _merge(rest, flags)
    if isinstance(merged.get("network"), dict):
        merged["network"].setdefault("kind", "mlp")
    try:
        return settings_of(name, merged)
    except ValidationError as error:
        faults = [_sentence(detail, merged) for detail in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(faults))) from None


def _merge(table: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for key, value in flags.items():
        before = merged.get(key)
        # settings of another kind of network or method would not fit the one asked for
        other_kind = (
            key in ("network", "sampling")
            and isinstance(before, dict)
            and value.get("kind") not in (None, before.get("kind"))
        )
        if isinstance(before, dict) and isinstance(value, dict) and key != "laps" and not other_kind:
            merged[key] = {**before, **value}
        else:
            merged[key] = value
    return merged


def _sentence(detail: Any, merged: Mapping[str, Any]) -> str:
    """One fault, in the words of the settings."""
    from dichroic.problem.faults import did_you_mean

    path = [str(part) for part in detail["loc"]]
    if path[0] == "laps":
        return f"laps: expected a positive number, or positive numbers by stage, got {merged['laps']!r}"
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        known = sorted(_known(path[:-1], merged))
        where = f" of {'.'.join(path[:-1])}" if path[:-1] else ""
        return f"{key}: unknown setting{did_you_mean(path[-1], known) or f'; those{where}: ' + ', '.join(known)}"
    message = (
        detail["msg"].replace("Input should be", "expected").replace("Value error, ", "").replace("a valid ", "a ")
    )
    return f"{key}: {message}, got {detail['input']!r}"


def _known(path: Iterable[str], merged: Mapping[str, Any]) -> set[str]:
    from dichroic.em import FitConfig
    from dichroic.posterior import METHODS, Method

    model: Any = FitConfig
    for name in path:
        merged = merged[name] if isinstance(merged.get(name), Mapping) else {}
        if model.model_fields[name].annotation is Method:
            model = METHODS[merged.get("kind", "auto")].variant(merged)
            continue
        models = [model.model_fields[name].annotation]
        while any(get_args(m) for m in models):
            models = [part for m in models for part in (get_args(m) or (m,))]
        models = [m for m in models if hasattr(m, "model_fields")]
        kinds = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == merged["kind"]]
        model = (kinds or models)[0]
    return set(model.model_fields)


def _laps(text: str) -> int | dict[str, int]:
    try:
        if "=" not in text:
            return int(text)
        pairs = [part.rsplit("=", 1) for part in text.split(",")]
        return {stage.strip(): int(number) for stage, number in pairs}
    except ValueError:
        raise SettingsError(
            f"laps: expected a number, or numbers by stage such as grass=8,digit=32, got {text!r}"
        ) from None


def _without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: _without_none(v) if isinstance(v, dict) else v for k, v in given.items() if v is not None}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}
