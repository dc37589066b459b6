r"""Does what is said of a source beforehand hold? Its symmetries and range, by Gaussians fitted to halves of the data.

A symmetry is contradicted where observations of the other half are likelier, beyond their standard error, under a
Gaussian that was fitted without it. A range is contradicted where the mean of an entry lies outside by more than the
halves differ; or where the entries vary more than anything of that mean between two ends can, which is
:math:`(\mu - a)(b - \mu)` (Bhatia and Davis 2000, Amer. Math. Monthly 107, 353).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from dichroic.algebra import Components, Gaussian
from dichroic.closed import GaussianConfig, gaussian_em
from dichroic.closed.routes import bind_view
from dichroic.design.finding import Finding
from dichroic.faults import names
from dichroic.problem import Problem, Source

__all__ = ["check_beforehand"]

_MOST, _LARGEST = 2048, 1024  # observations of a view, and numbers in a source, up to which it is looked into
_LAPS = 24
_ERRORS = 3.0  # standard errors beyond which something is contradicted
_SLIGHT = 0.05  # of a standard deviation, or of a variance: what is not worth a word


def check_beforehand(problem: Problem, known: Collection[str] = (), seed: int = 0) -> list[Finding]:
    """One finding for each symmetry or range of a source that the observations contradict.

    **Arguments:** `known`, sources with a known prior, which are not looked at.
    """
    said = [s for s, source in problem.sources.items() if source.known() and s not in known]
    if not said or max(int(np.prod(source.real_shape)) for source in problem.sources.values()) > _LARGEST:
        return []
    views = {name: np.arange(min(len(view), _MOST)) for name, view in problem.views.items()}
    if min(len(some) for some in views.values()) < 2:
        return []
    halves = problem.select(views).split(0.5, seed)
    fits = [_fit(half, problem.sources) for half in halves]
    symmetric = [s for s in said if problem.sources[s].symmetry]
    found = [finding for s in symmetric for finding in _symmetry(s, halves, fits[0])]
    for s in said:
        if problem.sources[s].range is not None:
            found += _range(s, problem.sources[s], [fit[s] for fit in fits])
    return found


def _fit(problem: Problem, sources: Mapping[str, Source]) -> Mapping[str, Gaussian]:
    return gaussian_em(Problem(sources, problem.views), GaussianConfig(laps=_LAPS)).populations


def _symmetry(s: str, halves: tuple[Problem, Problem], tied: Mapping[str, Gaussian]) -> Iterator[Finding]:
    learned, other = halves
    source = learned.sources[s]
    free = _fit(learned, {**learned.sources, s: replace(source, symmetry=())})
    before = _log_likelihoods(other, tied)
    gain, error = _difference(_log_likelihoods(other, free), before)
    if gain <= _ERRORS * error:
        return
    kinds = source.symmetry
    if len(kinds) > 1:  # which of them it is
        alone = {
            kind: _fit(learned, {**learned.sources, s: replace(source, symmetry=[kind])}) for kind in source.symmetry
        }
        worse = {
            kind: _difference(_log_likelihoods(other, free), _log_likelihoods(other, x)) for kind, x in alone.items()
        }
        kinds = [kind for kind, (each, e) in worse.items() if each > _ERRORS * e] or kinds
    text = (
        f"observations that were not learned from are likelier by {gain:.3g} (standard error {error:.2g}) each without "
        f"the symmetry {names(kinds)} that is said of it: remove it from `symmetry`"
    )
    yield Finding("amber", f"source '{s}'", text, "DC131")


def _log_likelihoods(problem: Problem, populations: Mapping[str, Gaussian]) -> list[np.ndarray]:
    shapes = {s: source.real_shape for s, source in problem.sources.items()}
    components = {s: Components.of(x) for s, x in populations.items()}
    return [bind_view(view, shapes, _MOST, 0).log_likelihood(components) for view in problem.views.values()]


def _difference(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float]:
    """Mean per observation of what one is above the other, and its standard error."""
    each = np.concatenate(a) - np.concatenate(b)
    return float(each.mean()), float(each.std() / np.sqrt(len(each)))


def _range(s: str, source: Source, fits: list[Gaussian]) -> Iterator[Finding]:
    low, high = source.range
    means = np.stack([np.asarray(fit.mean, float) for fit in fits])
    variances = np.stack([np.diag(fit.covariance()) for fit in fits])
    mean = means.mean(0)
    outside = np.maximum(np.maximum(low - mean, mean - high), 0)
    error = np.sqrt(np.mean((means[0] - means[1]) ** 2)) / 2
    beyond = outside > _ERRORS * error + _SLIGHT * np.sqrt(variances.mean())
    where, text = f"source '{s}'", f"the range [{low:g}, {high:g}] that is said of it"
    if beyond.any():
        text = (
            f"the mean of {int(beyond.sum())} of its {len(beyond)} entries lies outside {text}, by up to "
            f"{outside.max():.3g}: is it in another unit?"
        )
        yield Finding("amber", where, text, "DC132")
    elif np.isfinite([low, high]).all():
        most = np.maximum((mean - low) * (high - mean), 0).mean()
        error = abs(variances[0].mean() - variances[1].mean()) / 2
        if variances.mean() > (1 + _SLIGHT) * most + _ERRORS * error:
            text = (
                f"its entries have a standard deviation of {np.sqrt(variances.mean()):.3g}, and what has its mean and "
                f"{text} one of {np.sqrt(most):.3g} at most: is it in another unit?"
            )
            yield Finding("amber", where, text, "DC132")
