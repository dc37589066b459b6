"""Beside the result of a run, what one would have without it: the simple answers, and the Gaussian stage's mean."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from dichroic.baselines.base import Baseline
from dichroic.baselines.simple import simple_answers
from dichroic.posterior import stand_in_mean
from dichroic.problem import Problem, as_pairs
from dichroic.problem.portion import portion
from dichroic.run import Run, Separation

__all__ = ["Beside", "Comparison", "beside"]

_SAME = 0.005  # dB
_CERTAIN = 2.0  # standard errors of the mean difference of squared errors
_GAUSSIAN = "the Gaussian stage's mean"


@dataclass(frozen=True)
class Comparison:
    """One simple answer, `title`, and the reported means, `ours`, for a source of a view whose truth is known, in dB
    (PSNR of all held-out observations, the range of the truth being the peak); `seen`, whether as the view shows it. It
    is `beaten` where the simple answer's squared error is lower by two standard errors of the mean of the differences.
    """

    title: str
    view: str
    source: str
    seen: bool
    theirs: float
    ours: float
    beaten: bool

    @property
    def sentence(self) -> str:
        """What a beaten result is to be told."""
        shown = ", as the view shows it," if self.seen else ""
        return (
            f"View “{self.view}”, source “{self.source}”: {self.title}{shown} is nearer to the truth than these means, "
            f"by {self.theirs - self.ours:.1f} dB ({self.theirs:.1f} against {self.ours:.1f}). Use it, or find out "
            "why: more observations, another network, more laps."
        )


@dataclass(frozen=True)
class Beside:
    """The simple answers to what a run held out, by their titles, and how its own means compare with them."""

    answers: Mapping[str, Separation]
    comparisons: list[Comparison]

    @property
    def shown(self) -> list[Comparison]:
        """The comparisons but for those as seen that say nothing else, the view only scaling the source."""
        plain = {(c.title, c.view, c.source): c for c in self.comparisons if not c.seen}
        near = [abs(c.ours - plain[c.title, c.view, c.source].ours) for c in self.comparisons]
        return [c for c, d in zip(self.comparisons, near, strict=True) if not c.seen or d > _SAME]

    @property
    def reasons(self) -> list[str]:
        """Why the result is not fine: one sentence for every source of a view that a simple answer beats, the best."""
        worst: dict[tuple[str, str], Comparison] = {}
        for c in self.shown:
            before = worst.get((c.view, c.source))
            if c.beaten and (before is None or c.theirs - c.ours > before.theirs - before.ours):
                worst[c.view, c.source] = c
        return [c.sentence for c in worst.values()]


def beside(run: Run) -> Beside:
    """The simple answers that suit the data of a finished run, fitted to what it learned from, for what it held out."""
    if not run.separated.exists() or run.held_out is None:
        return Beside({}, [])
    return _beside(run)


@lru_cache(maxsize=1)  # for the end of a fit and its report
def _beside(run: Run) -> Beside:
    held_out = run.held_out
    assert held_out is not None
    answers: dict[str, Separation] = {}
    wanted = {cls.title: partial(_by_hand, cls, run, held_out) for cls in simple_answers(portion(run.problem)).values()}
    for title, make in (wanted | {_GAUSSIAN: partial(_gaussian, run, held_out)}).items():
        try:
            found = make()
        except Exception as error:  # what stands beside a result must not take it along
            warnings.warn(f"{title} cannot be shown beside the result: {error}", stacklevel=3)
            continue
        if found is not None:
            answers[title] = found
    ours = run.separation
    return Beside(answers, [c for title, x in answers.items() for c in _compared(title, x, ours, held_out)])


def _by_hand(cls: type[Baseline], run: Run, held_out: Problem) -> Separation:
    return cls.fit(portion(run.problem)).separate(held_out, draws=0)


def _gaussian(run: Run, held_out: Problem) -> Separation | None:
    fit = run.gaussian
    if fit is None or not set(held_out.sources) <= set(fit.populations):
        return None
    priors = {s: fit.prior(s, source.real_shape, run.config.schedule) for s, source in held_out.sources.items()}
    means = {v: found for v, view in held_out.views.items() if (found := stand_in_mean(view, priors)) is not None}
    if not means:
        return None
    seen = {v: {s: held_out.views[v].seen(s, x) for s, x in found.items()} for v, found in means.items()}
    none = {v: np.zeros((len(held_out.views[v]), 1)) for v in means}
    samples = {v: {s: x[:, None] for s, x in found.items()} for v, found in means.items()}
    return Separation(samples, none, {v: x > 0 for v, x in none.items()}, 0, True, means, seen)


def _compared(title: str, theirs: Separation, ours: Separation, held_out: Problem) -> Iterator[Comparison]:
    for v, view in held_out.views.items():
        for s, truth in view.truth.items():
            if s not in theirs.samples.get(v, {}) or s not in ours.samples.get(v, {}):
                continue
            if len(ours.diverged[v]) != len(view):
                continue  # another held-out set than the one that was separated
            pairs = [(False, as_pairs(theirs.mean(v, s)), as_pairs(ours.mean(v, s)), truth)]
            if s in theirs.appearances.get(v, {}) and s in ours.appearances.get(v, {}):
                shown = as_pairs(theirs.seen(v, s)), as_pairs(ours.seen(v, s)), as_pairs(view.seen(s, truth))
                pairs.append((True, *shown))
            for seen, a, b, t in pairs:
                usable = np.isfinite((a - b).reshape(len(a), -1)).all(1)
                if usable.sum() > 1:
                    yield _judged(title, v, s, seen, a[usable], b[usable], t[usable])


def _judged(
    title: str, view: str, source: str, seen: bool, theirs: np.ndarray, ours: np.ndarray, truth: np.ndarray
) -> Comparison:
    truth = truth.astype(float)
    errors = [((x - truth) ** 2).reshape(len(x), -1).mean(1) for x in (theirs, ours)]
    gain = errors[1] - errors[0]
    beaten = gain.mean() > _CERTAIN * gain.std(ddof=1) / np.sqrt(len(gain))
    peak = float(np.ptp(truth)) or 1.0
    theirs_db, ours_db = (float(10 * np.log10(peak**2 / max(e.mean(), 1e-300))) for e in errors)
    return Comparison(title, view, source, seen, theirs_db, ours_db, bool(beaten))
