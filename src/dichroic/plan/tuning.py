"""What makes a fit faster on this machine and leaves what it computes alone: tried, not guessed.

Batch sizes of posterior draws, the precision of networks, and for U-Nets the route of their convolutions. A precision
does change results a little; it is tried because devices differ most in it, and the choice is left to the reader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

import jax

from dichroic.devices import out_of_memory
from dichroic.diffusion import UNetConfig
from dichroic.diffusion.networks.convolution import AUTOMATIC
from dichroic.em import Stage, make_plan, split
from dichroic.plan.timing import Timings, time_closed_form, time_draws, time_training
from dichroic.problem import Problem, ProblemError
from dichroic.run.known import Known, known_priors
from dichroic.settings import FitConfig, merge

__all__ = ["Trial", "as_toml", "try_settings"]

_FACTORS = (0.25, 0.5, 1, 2, 4)  # of the batch size that a fit would take
_SMALLEST = 8
_ROUTES = ("explicit", "library")
_PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Trial:
    """One way of doing some work.

    `work`, what was timed; `settings`, what to write into the table `[fit]` for it; `seconds` (None: it did not fit
    into memory); `current`, whether it is what a fit with the given settings does.
    """

    work: str
    settings: dict[str, Any]
    seconds: float | None
    current: bool


def try_settings(
    problem: Problem,
    config: FitConfig,
    *,
    held_out: Problem | float | None = None,
    frozen: Mapping[str, Known] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Trial]:
    """Times the same work with other settings, from a few steps of each; the stages in closed form are run in full.

    Draws are timed with the networks of the last stage in place, one pass over the observations of all its views from
    pure noise; training, by an optimiser step of all sources that the stage learns.

    **Arguments:** as for :func:`~dichroic.run.estimate_costs`, with one configuration.

    **Raises:** `ProblemError` where there is nothing to learn.
    """
    report = report or (lambda _: None)
    known = known_priors(frozen or {}, problem)
    kept, held = split(problem, held_out, config)
    plan = make_plan(kept, config.plan, known)
    if not plan:
        raise ProblemError(["all sources are known already: a fit has nothing to learn, and no time to save"])
    key, timings = jax.random.key(config.seed), Timings()
    state = time_closed_form(kept, held, config, known, key, timings, report)
    priors = dict(state.priors)
    for stage in plan:
        report(f"training step of {', '.join(stage.learn)}")
        priors |= time_training(stage, state.priors, config, key, timings)
    last = plan[-1]

    def draws(changed: FitConfig) -> float:
        return sum(
            time_draws(kept.views[v], {s: priors[s] for s in kept.views[v].mixing}, changed, key).seconds(
                [(len(kept.views[v]), config.sampling.runs[0])]
            )
            for v in last.views
        )

    def training(changed: FitConfig) -> float:
        found = Timings()
        time_training(last, state.priors, changed, key, found)
        return found.train[last.name]

    trials = []
    for settings, current in _batches(kept, config, last):
        report(f"draws with {', '.join(as_toml(settings))}")
        trials.append(_try("draws of all observations", draws, config, settings, current))
    for settings, current in _networks(kept, config, last):
        report(f"training step with {', '.join(as_toml(settings))}")
        trials.append(_try("optimiser step of all sources", training, config, settings, current))
    return trials


def as_toml(settings: Mapping[str, Any], table: str = "") -> list[str]:
    """Settings as lines of the table `[fit]`, without the kind of a network."""
    lines: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += as_toml(value, f"{table}{name}.")
        elif name != "kind":
            lines.append(f"{table}{name} = {dumps(value)}")
    return lines


def _batches(problem: Problem, config: FitConfig, stage: Stage) -> list[tuple[dict[str, Any], bool]]:
    views = [problem.views[v] for v in stage.views]
    shapes = {s: source.real_shape for s, source in problem.sources.items()}
    usual = max(config.sampling.batch_size({s: shapes[s] for s in view.mixing}, len(view)) for view in views)
    most = max(len(view) for view in views)
    sizes = {max(_SMALLEST, min(most, int(usual * factor))) for factor in _FACTORS} | {usual}
    return [({"sampling": {"batch": size}}, size == usual) for size in sorted(sizes)]


def _networks(problem: Problem, config: FitConfig, stage: Stage) -> list[tuple[dict[str, Any], bool]]:
    """For U-Nets all combinations; an MLP is nothing but matrix products, and has a precision only."""
    network = config.network_for(problem.sources[stage.learn[0]].real_shape)
    precisions = [({"precision": precision}, precision == config.precision) for precision in _PRECISIONS]
    if not isinstance(network, UNetConfig):
        return precisions
    now = network.convolution if network.convolution != "auto" else AUTOMATIC.get(jax.default_backend(), "library")
    return [
        ({**settings, "network": {"kind": "unet", "convolution": route}}, current and route == now)
        for settings, current in precisions
        for route in _ROUTES
    ]


def _try(
    work: str, timed: Callable[[FitConfig], float], config: FitConfig, settings: dict[str, Any], current: bool
) -> Trial:
    try:
        seconds = timed(FitConfig.model_validate(merge(config.model_dump(), settings)))
    except Exception as error:
        if not out_of_memory(error):
            raise
        seconds = None
    return Trial(work, settings, seconds, current)
