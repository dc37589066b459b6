"""Separating: posterior draws of every source of every observation, with priors from anywhere."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dichroic import hosts
from dichroic.algebra import Components
from dichroic.diffusion import Prior
from dichroic.faults import among
from dichroic.posterior import (
    Auto,
    Bound,
    Draws,
    Fast,
    InBlocks,
    Method,
    ViewPosterior,
    bind_blocks,
    bind_instrument,
    observation_keys,
    stand_in_mean,
)
from dichroic.problem import Problem, View
from dichroic.run.folder import RunError
from dichroic.run.mean import MeanOfDraws
from dichroic.run.separation import Separation
from dichroic.run.separation_writer import SeparationWriter
from dichroic.run.window_keys import window_keys
from dichroic.settings import FitConfig

__all__ = ["MOST_DRAWS", "expected_draws", "separate"]

MOST_DRAWS = 64  # of an observation, for its mean
# of the draws of a view: without a share p of them a mean is off by sqrt(p / (1 - p)) standard deviations at most,
# which up to this one is less than the Monte-Carlo error of as many draws as a mean has
_FEW = 1 / (MOST_DRAWS + 1)


def separate(
    problem: Problem,
    priors: Mapping[str, Prior],
    *,
    key: PRNGKeyArray,
    draws: int = 8,
    sampling: Method | None = None,
    share: float = FitConfig().mean_share,
    learned: Mapping[str, ViewPosterior] | None = None,
    refits: Sequence[Mapping[str, Components]] = (),
    out: str | Path | None = None,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
    said: Mapping[str, str] | None = None,
) -> Separation:
    """Joint posterior draws of all sources of every observation, with any priors; nothing is fitted.

    The method is bound to every view once: what it chooses, factorises or trains serves all draws. Posterior means are
    exact where they have a closed form; elsewhere they are those of `MeanOfDraws`, of as many further draws, which are
    not kept, as it takes for their Monte-Carlo share to fall to `share` (of 64 draws in all at most). Where a source
    has a range, values of draws and means beyond are put to its ends, last of all: residuals are those from before.

    **Arguments:** `draws`, per observation; `share`, 1 for no more draws than those; `learned`, posteriors of views,
    which take the place of the method where they are for these observations; `refits`, populations that might as well
    have been learned, two or more of all sources but those that are known, by which exact posteriors are widened;
    `out`, a Zarr store to stream to,
    which appears when it is whole; `overwrite`, whether to replace the one that is there; `report(done, total)` is
    called now and then; `said`, where the priors came from, in words, which is kept beside the results.

    **Raises:** `RunError` for a source without a prior, or of another shape, and when `out` is taken.
    """
    for s, source in problem.sources.items():
        if s not in priors:
            raise RunError(f"there is no prior for source '{s}'; there are: {among(s, priors)}")
        if priors[s].shape != source.real_shape:
            raise RunError(f"source '{s}' has shape {source.real_shape}, its prior {priors[s].shape}")
    shapes = {
        name: (len(view), {s: problem.sources[s].real_shape for s in view.mixing})
        for name, view in problem.views.items()
    }
    pairs = {s for s, source in problem.sources.items() if source.is_complex}
    sampling = sampling or Auto()
    if isinstance(sampling, Fast):
        raise RunError("a fast posterior is distilled for a run, and judged: dichroic distill RUN --posterior")
    point = sampling.returns == "estimate"
    draws = 1 if point else draws
    done, ahead = 0, sum(len(view) for view in problem.views.values()) * draws

    def clipped(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {s: problem.sources[s].clip(x) for s, x in samples.items()}

    named = {name: view.labels for name, view in problem.views.items() if view.labels is not None}
    units = {s: source.unit for s, source in problem.sources.items() if source.unit}
    store = None if out is None else Path(out)
    with SeparationWriter(store, shapes, draws, overwrite, point, pairs, named, units, said) as writer:
        for number, (name, view) in enumerate(problem.views.items()):
            view_key = jax.random.fold_in(key, number)
            own = _learned(name, view, priors, (learned or {}).get(name), view_key)
            bound = own or _bound(sampling, name, view, priors, view_key)
            ahead -= len(view) * draws
            # what is drawn block by block a process draws and writes by itself, whole chunks
            whole = not isinstance(bound, InBlocks)
            if not whole:
                writer.prepare(name, *_empty(view, shapes[name][1], pairs))
            found: list[tuple[int, dict[str, float]]] = []
            with nullcontext() if whole else hosts.alone():
                for rows, some, given in _parts(bound, view, writer.own(len(view))):
                    drawn_by = given.among(refits)
                    left = ahead + (0 if rows is None else len(view) - rows.stop) * draws

                    def tell(now: int, total: int, done: int = done, left: int = left) -> None:
                        if report is not None:
                            report(done + now, done + total + left)

                    def write(draw: int, drawn: Draws, name: str = name, rows: slice | None = rows) -> None:
                        writer.write(name, draw, replace(drawn, samples=clipped(drawn.samples)), rows)

                    means, shares, made = _rounds(
                        drawn_by,
                        some,
                        lambda draw, some=some, rows=rows, view_key=view_key: _keys(
                            jax.random.fold_in(view_key, draw), some, rows
                        ),
                        draws,
                        None if point else share,
                        None if own else lambda some=some: stand_in_mean(some, priors),
                        write,
                        tell,
                    )
                    means = clipped(means)
                    writer.average(name, means, {s: some.seen(s, x) for s, x in means.items()}, shares, rows)
                    found.append((len(some), shares))
                    done += made
            if own is None and (lost := float(np.mean(writer.diverged[name][:]))) > _FEW:
                warnings.warn(f"view '{name}': {lost:.1%} of the draws are {sampling.astray}", stacklevel=2)
            if not whole:
                writer.shares[name] = _pooled(found, list(view.mixing))
    return writer.finish()


def _rounds(
    bound: Bound,
    view: View,
    keys: Callable[[int], Any],
    draws: int,
    share: float | None,
    stand_in: Callable[[], Mapping[str, np.ndarray] | None] | None,
    write: Callable[[int, Draws], None],
    report: Callable[[int, int], None],
) -> tuple[dict[str, np.ndarray], dict[str, float], int]:
    """Draws of some observations, one of each after the other, and as many more as their means ask for.

    **Arguments:** `keys(draw)`; `share`, None for point estimates; `stand_in`, makes the means that stand in, where
    there are some; `write(draw, drawn)`, for those that are kept.

    **Returns:** means, their Monte-Carlo shares, and how many draws were made.
    """
    n, draw, wanted, exact = len(view), 0, draws, bound.mean()
    share = None if exact else share
    found = MeanOfDraws(None if share is None or stand_in is None else stand_in())
    expected = draws if share is None else expected_draws(draws, share)
    while draw < wanted:
        drawn = bound.draw(keys(draw), report=lambda m, _, d=draw, e=expected: report(n * d + m, n * e))
        if draw < draws:
            write(draw, drawn)
        if exact is None:
            found.add(drawn)
        draw += 1
        if share is not None:
            missing = found.missing(share, MOST_DRAWS)
            wanted += missing if draw == wanted else 0
            expected = max(wanted, draw + missing)
    means = exact or {s: found.mean(s) for s in view.mixing}
    return means, {s: 0.0 if share is None else found.share(s) for s in view.mixing}, n * draw


def _parts(bound: Bound, view: View, own: slice) -> Iterator[tuple[slice | None, View, Bound]]:
    """A view and what draws it; or, block by block, which rows, these, and what draws them."""
    if isinstance(bound, InBlocks):
        yield from bound.parts(own.start, own.stop)
    else:
        yield None, view, bound


def _empty(
    view: View, shapes: Mapping[str, tuple[int, ...]], pairs: Collection[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Means and appearances of no observation."""
    means = {
        s: np.empty((0, *shape[:-1]), np.complex64) if s in pairs else np.empty((0, *shape), np.float32)
        for s, shape in shapes.items()
    }
    return means, {s: np.empty((0, *view.event_shape), view.y.dtype) for s in shapes}


def _pooled(found: list[tuple[int, dict[str, float]]], sources: list[str]) -> dict[str, float]:
    """The mean share over all observations, of all processes."""
    total = [[sum(n * shares[s] for n, shares in found) for s in sources] + [sum(n for n, _ in found)]]
    summed = hosts.gathered(np.asarray(total, float), jax.process_count()).sum(0)
    return {s: float(x / max(summed[-1], 1)) for s, x in zip(sources, summed, strict=False)}


def expected_draws(draws: int, share: float) -> int:
    """Draws of an observation in all, those for its mean included, before anything is known of it: at most."""
    return max(draws, min(MOST_DRAWS, ceil(1 / max(share, 1e-3)) - 1))


def _keys(key: PRNGKeyArray, view: View, rows: slice | None) -> Any:
    """A key for every observation, of some `rows` or all; windows on series share random numbers where they overlap."""
    windows = None if view.labels is None else view.labels.windows
    if windows is None or len(windows.size) != 1:
        return observation_keys(key, len(view) if rows is None else np.arange(rows.start, rows.stop))
    return window_keys(key, windows)


def _bound(method: Method, name: str, view: View, priors: Mapping[str, Prior], key: PRNGKeyArray) -> Bound:
    """The method, bound to a view.

    **Raises:** `RunError` where it is not for such observations or priors.
    """
    try:
        return bind_instrument(method, view, priors, key=key)
    except ValueError as error:
        raise RunError(f"view '{name}': {error}") from error


def _learned(
    name: str, view: View, priors: Mapping[str, Prior], posterior: ViewPosterior | None, key: PRNGKeyArray
) -> Bound | None:
    """The posterior that was learned for a view, where it is for these observations."""
    if posterior is None:
        return None
    try:
        return bind_blocks(lambda some: posterior.bind(some, priors, key=key), view, priors)
    except ValueError as error:
        warnings.warn(f"view '{name}': its learned posterior is not used: {error}", stacklevel=3)
        return None
