"""The stage of a fit that learns by the law of the mixtures, in place of laps of EM."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.closed import GaussianFit
from dichroic.closed.gaussian import GaussianConfig
from dichroic.diffusion import Prior, Scaling
from dichroic.law import (
    Contrast,
    LearnedPosterior,
    Rounds,
    Sources,
    find_contrast,
    held_rows,
    refusals,
    rounds,
    told_apart,
)
from dichroic.law.critic import area_error
from dichroic.law.prior import pool_prior
from dichroic.posterior import Auto, observation_keys
from dichroic.problem import Problem, View
from dichroic.run.folder import RunError, RunFolder
from dichroic.run.rounds_pace import RoundsPace
from dichroic.run.widths import widths_of
from dichroic.settings import FitConfig

__all__ = ["BEYOND", "contrast_of", "drawn_from", "learn_mixtures", "shortened"]

# what "auto" asks for: sides of images, lengths of series, observations of the view and of what it shows alone
_SIDE, _LENGTH, _MIXTURES, _ALONE = 16, 64, 1024, 512
_LAPS = 16  # of the Gaussian stage, which is no more than a start then
BEYOND = 0.03  # two standard errors of an area under a curve of some 400 observations


def contrast_of(
    problem: Problem,
    frozen: Collection[str],
    config: FitConfig,
    scalings: Mapping[str, Scaling] | None = None,
    drawn: Sources | None = None,
) -> Contrast | None:
    """The one source that is to be learned by the law of the mixtures, with the views that show it; None for EM.

    **Arguments:** `scalings`, of the sources, where they are known yet; `drawn`, what draws sources given a view that
    shows them without this one, where that is known yet.

    **Raises:** `RunError` where the settings ask for the law and no view shows a source over what another shows alone.
    """
    if config.law == "em" or (config.law == "auto" and config.laps == 0):
        return None
    asked = config.law == "mixtures"
    for s in problem.sources:
        scaling = (scalings or {}).get(s, Scaling())
        if s in frozen or (contrast := find_contrast(problem, s, scaling, drawn, anew=asked)) is None:
            continue
        others = set(problem.sources) - {s}
        if others <= set(problem.views[contrast.alone].mixing) and (asked or _many(contrast)):
            return contrast
    if asked:
        raise RunError(
            "law = 'mixtures' needs a view that adds one real source to what another view shows alone; there is none:\n"
            + "\n".join(f"  - {why}" for why in refusals(problem))
            + "\nLeave it at 'auto'"
        )
    return None


def shortened(config: GaussianConfig) -> GaussianConfig:
    """The settings of a Gaussian stage before the law of the mixtures."""
    return config.model_copy(update={"laps": min(config.laps, _LAPS)})


def drawn_from(priors: Mapping[str, Prior], seed: int) -> Sources:
    """What draws sources from priors in closed form."""
    key = jax.random.fold_in(jax.random.key(seed), 20)

    def draw(view: View) -> Mapping[str, np.ndarray]:
        return (
            Auto()
            .bind(view, {s: priors[s] for s in view.mixing}, key=key)
            .draw(observation_keys(key, len(view)))
            .samples
        )

    return draw


def _many(contrast: Contrast) -> bool:
    """Whether there is enough of what "auto" was measured with."""
    if contrast.y.shape[1:] != contrast.shape:
        return False
    large = contrast.shape[0] >= _LENGTH if len(contrast.shape) == 1 else min(contrast.shape[:2]) >= _SIDE
    return large and len(contrast) >= _MIXTURES and int(contrast.count.min()) >= _ALONE


def learn_mixtures(
    contrast: Contrast,
    gaussian: GaussianFit,
    priors: Mapping[str, Prior],
    config: FitConfig,
    folder: RunFolder,
    pace: RoundsPace,
    say: Callable[[str], None],
    report: Callable[[str, float], None],
) -> dict[str, Prior] | None:
    """The priors with that of the source learned from its pool, and its posterior kept in the folder.

    None where the mixtures of the pool are told from the observed ones no worse than those of the Gaussian stage: then
    nothing is kept of it.
    """
    key = jax.random.fold_in(jax.random.key(config.seed), 17)
    settings, source = config.mixtures, contrast.source
    state = folder.rounds(contrast, settings)

    def within(what: str, done: int, of: int) -> None:
        report(f"{what} of {source}", pace.done(what, done / max(of, 1), state and state.done))

    for after in rounds(contrast, settings, state, key=jax.random.fold_in(key, 0), report=within):
        state = after
        folder.save_rounds(state)
        folder.save_records(_records(contrast, state))
        say(_line(contrast, state))
    assert state is not None
    within("judgement", 0, 1)
    begin = _gaussian_pool(contrast, gaussian, jax.random.fold_in(key, 1))
    judge = jax.random.fold_in(key, 2)
    before, after = (told_apart(contrast, settings, pool, key=judge) for pool in (begin, state.pool))
    records = _records(contrast, state)
    error = area_error(len(held_rows(contrast, settings)))
    records[0]["law"], records[-1]["law"] = ({contrast.view: [area, error]} for area in (before, after))
    if after > before - BEYOND:
        records = [{**record, "best_lap": 0} for record in records]
    folder.save_records(records)
    verdict = f"mixtures of the pool are told from the observed ones with an AUC of {after:.2f}, "
    verdict += f"those of the Gaussian stage with {before:.2f}"
    if after > before - BEYOND:
        say(f"{source}: {verdict}: the law of the mixtures is not used")
        return None
    say(f"{source}: {verdict}")
    records[-1]["widths"] = widths_of(contrast, state, settings, key=jax.random.fold_in(key, 4))
    folder.save_records(records)
    known = priors[source]
    learned = pool_prior(
        state.pool,
        settings,
        known.schedule,
        known.scaling,
        precise=state.regression.precise,
        key=jax.random.fold_in(key, 3),
        report=lambda done, of: within("prior", done, of),
    )
    folder.save_posterior(contrast.view, LearnedPosterior.of(contrast, state, settings))
    return {**priors, source: learned}


def _gaussian_pool(contrast: Contrast, gaussian: GaussianFit, key: Any) -> np.ndarray:
    """As many draws of the Gaussian stage's population, within the range of the source."""
    population, n = gaussian.populations[contrast.source], len(contrast)
    first, second = jax.random.split(key)
    inside = np.asarray(jax.random.normal(first, (n, len(population.values))))
    x = population.mean + (inside * np.sqrt(population.values)) @ population.basis.T
    if population.rest > 0:
        z = np.asarray(jax.random.normal(second, x.shape)) * np.sqrt(population.rest)
        x = x + z - (z @ population.basis) @ population.basis.T
    scaled = contrast.scaling.to_scaled(x.reshape(n, *contrast.shape))
    return np.asarray(contrast.clip(jnp.asarray(scaled, jnp.float32)))


def _records(contrast: Contrast, state: Rounds) -> list[dict[str, Any]]:
    """Rounds as laps have them."""
    return [
        {
            "stage": contrast.source,
            "lap": number,
            "views": {},
            "loss": {contrast.source: record["loss"]},
            "seconds": {"m_step": record["seconds"], "e_step": 0.0, "held_out": 0.0},
            "best_lap": state.done,
            **{name: record[name] for name in ("area_before", "area_after", "moves", "use", "power") if name in record},
        }
        for number, record in enumerate(state.records)
    ]


def _line(contrast: Contrast, state: Rounds) -> str:
    record = state.records[-1]
    if "area_after" not in record:
        return f"{contrast.source}: first estimate, power {record['power']:.2f}"
    areas = f"AUC {record['area_before']:.2f} to {record['area_after']:.2f} in {record['moves']} moves"
    areas += "" if record["use"] else " (undone)"
    return f"{contrast.source} round {state.done}: {areas}, power {record['power']:.2f}"
