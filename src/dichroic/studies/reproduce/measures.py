"""The numbers of a table, each in a stated reading.

The published scores compare every posterior draw with the truth of its own observation. For distances between sets that
is too kind: a draw lies near its truth, nearer than an independent sample would. The measures without `published` in
their name take the draws of one half of the observations and the truth of the other half.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from dichroic.metrics import (
    Interval,
    binomial_interval,
    bootstrap,
    coverage_per_sample,
    draws_for,
    emd,
    energy_distance,
    flux_bias_per_sample,
    frechet_distance,
    frechet_distance_mean_only,
    half_samples,
    halved_sinkhorn_divergence,
    pqmass_chi_square,
    pqmass_p_value,
    psnr_per_sample,
    si_sdr_per_sample,
    sinkhorn_divergence,
    sliced_wasserstein,
)

__all__ = ["MEASURES", "Estimates", "Measure", "Measured", "measure"]

Kind = Literal["draw", "mean", "pooled", "seen", "bits", "spread", "interval", "paired", "independent", "prior"]


@dataclass(frozen=True)
class Estimates:
    """What a method says of one source in one view, and the truth.

    **Fields:** `draws`, shape `(n, draws, ...)`, NaN where one diverged; `truth`, shape `(n, ...)`; `prior`, samples of
    the learned population, shape `(m, ...)`, None where there are none; `peak`, the dynamic range; `point`, whether
    `draws` are point estimates; `features`, what images are turned into for Fréchet distances (None: their pixels);
    `mean`, posterior means, shape `(n, ...)`, where they are not those of the draws; `seen`, means and truth as the
    view shows them; `bits`, what reads those of samples, where they are made of symbols.
    """

    draws: np.ndarray
    truth: np.ndarray
    prior: np.ndarray | None = None
    peak: float = 1.0
    point: bool = False
    features: Callable[[np.ndarray], np.ndarray] | None = field(default=None, compare=False)
    mean: np.ndarray | None = None
    seen: tuple[np.ndarray, np.ndarray] | None = None
    bits: Callable[[np.ndarray], np.ndarray] | None = field(default=None, compare=False)


class Measured(NamedTuple):
    """A number with its interval, and how many samples it is of (of either set)."""

    interval: Interval
    samples: int


class Measure(NamedTuple):
    """One number and how to read it.

    `kind`: one value per observation, of a single `draw`, of the posterior `mean` or of an `interval` of its draws,
    which takes a number of them (`least`), averaged; one value of the posterior means of all observations together
    (`pooled`), of these as the view shows them (`seen`), of which of their `bits` are wrong, with its interval, or of
    all draws (`spread`); or a distance between sets, of draws and the truth of their own observations (`paired`), of
    draws and truth of different observations (`independent`), or of samples of the `prior` and truth. `function` takes
    samples, truth and the estimates; `limits` are those of its values, where an interval ends too.
    """

    title: str
    unit: str
    better: Literal["higher", "lower", "zero", "half", "one", "share"]
    kind: Kind
    function: Callable[[np.ndarray, np.ndarray, Estimates], Any]
    published: bool = False
    limits: tuple[float, float] = (-np.inf, np.inf)
    least: int = 1


def _sdr(x: np.ndarray, truth: np.ndarray, case: Estimates) -> float:
    return float(10 * np.log10((truth**2).sum() / ((x - truth) ** 2).sum()))


def _psnr_of_all(x: np.ndarray, truth: np.ndarray, case: Estimates) -> float:
    return float(10 * np.log10(case.truth.max() ** 2 / ((x - truth) ** 2).mean()))


def _psnr_as_seen(x: np.ndarray, truth: np.ndarray, case: Estimates) -> float:
    assert case.seen is not None
    return float(10 * np.log10(case.seen[1].max() ** 2 / ((x - truth) ** 2).mean()))


def _error_db(x: np.ndarray, truth: np.ndarray, case: Estimates) -> float:
    """Of complex samples, as pairs along the last axis; those of the studies have power of about one."""
    return float(10 * np.log10(max(((x - truth) ** 2).sum(-1).mean(), 1e-12)))


def _error_rate(wrong: np.ndarray, *_: Any) -> Interval:
    return binomial_interval(int(wrong.sum()), wrong.size)


def _any_error(wrong: np.ndarray, *_: Any) -> Interval:
    return binomial_interval(int(wrong.any(1).sum()), len(wrong))


def _inflation(x: np.ndarray, truth: np.ndarray, case: Estimates) -> float:
    """Of draws `(n, draws, ...)` around their own mean, which is off by one of them in so many itself."""
    error, n = ((x.mean(1) - truth) ** 2).mean(), x.shape[1]
    return float((error / ((1 + 1 / n) * x.var(1, ddof=1).mean())) ** 0.5)


def _correlation(x: np.ndarray, truth: np.ndarray, case: Estimates) -> np.ndarray:
    """Of the entries of every sample with those of its truth, NaN where either is constant."""
    u, v = ((a - a.mean(1, keepdims=True)) for a in (x.reshape(len(x), -1), truth.reshape(len(x), -1)))
    lengths = np.sqrt((u**2).sum(1) * (v**2).sum(1))
    return np.divide((u * v).sum(1), lengths, out=np.full(len(x), np.nan), where=lengths > 0)


_POSITIVE, _PROBABILITY = (0.0, np.inf), (0.0, 1.0)


def _featured(distance: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray, Estimates], float]:
    def of(x: np.ndarray, truth: np.ndarray, case: Estimates) -> float:
        features = case.features or (lambda images: images)
        return distance(features(x), features(truth))

    return of


def _sets(distance: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray, Estimates], float]:
    return lambda x, truth, case: distance(x, truth)


def _pairs(score: Callable[..., np.ndarray]) -> Callable[[np.ndarray, np.ndarray, Estimates], np.ndarray]:
    return lambda x, truth, case: score(x, truth)


def _psnr(x: np.ndarray, truth: np.ndarray, case: Estimates) -> np.ndarray:
    return psnr_per_sample(x, truth, case.peak)


def _coverage(share: float) -> Measure:
    def of(x: np.ndarray, truth: np.ndarray, case: Estimates) -> np.ndarray:
        return coverage_per_sample(x, truth, share)

    title = f"coverage of {100 * share:g} % intervals"
    return Measure(title, "", "share", "interval", of, limits=_PROBABILITY, least=draws_for(share))


_frechet, _mean_only = _featured(frechet_distance), _featured(frechet_distance_mean_only)
# the default of a tenth of it takes most of the time, for digits that the interval covers
_sinkhorn = partial(sinkhorn_divergence, tolerance=1e-3)

# every number a table can show, in the order of its columns
MEASURES: dict[str, Measure] = {
    "psnr": Measure("PSNR, single draws", "dB", "higher", "draw", _psnr, published=True),
    "psnr_mean": Measure("PSNR, posterior mean", "dB", "higher", "mean", _psnr),
    "si_sdr": Measure("SI-SDR, posterior mean", "dB", "higher", "mean", _pairs(si_sdr_per_sample)),
    "flux_bias": Measure("flux bias, posterior mean", "", "zero", "mean", _pairs(flux_bias_per_sample)),
    "psnr_pooled": Measure("PSNR of all together, posterior mean", "dB", "higher", "pooled", _psnr_of_all),
    "psnr_seen": Measure("PSNR of all together, as the view shows it", "dB", "higher", "seen", _psnr_as_seen),
    "sdr": Measure("SDR of all together, posterior mean", "dB", "higher", "pooled", _sdr),
    "ber": Measure("bit error rate", "", "lower", "bits", _error_rate),
    "any_error": Measure("mixtures with a wrong bit", "share", "lower", "bits", _any_error),
    "error_db": Measure("squared error", "dB", "lower", "pooled", _error_db),
    "rmse": Measure(
        "rms error, posterior mean",
        "",
        "lower",
        "pooled",
        lambda x, truth, case: float(((x - truth) ** 2).mean() ** 0.5),
    ),
    "inflation": Measure("error over posterior deviation", "", "one", "spread", _inflation),
    "coverage_50": _coverage(0.5),
    "coverage_90": _coverage(0.9),
    "correlation": Measure("correlation, posterior mean", "", "higher", "mean", _correlation),
    "sinkhorn_published": Measure(
        "Sinkhorn, published", "", "lower", "paired", _sets(halved_sinkhorn_divergence), published=True
    ),
    "sinkhorn": Measure("Sinkhorn, debiased", "", "lower", "independent", _sets(_sinkhorn), limits=_POSITIVE),
    "emd": Measure("EMD", "", "lower", "independent", _sets(emd), limits=_POSITIVE),
    "sliced": Measure("sliced W₂", "", "lower", "independent", _sets(sliced_wasserstein), limits=_POSITIVE),
    "energy": Measure("energy distance", "", "lower", "independent", _sets(energy_distance)),  # can be negative
    "pqmass_published": Measure(
        "PQMass p, published", "", "higher", "paired", _sets(pqmass_p_value), published=True, limits=_PROBABILITY
    ),
    "pqmass": Measure("PQMass p", "", "half", "independent", _sets(pqmass_p_value), limits=_PROBABILITY),
    "pqmass_chi2": Measure(
        "PQMass χ² per d.o.f.", "", "lower", "independent", _sets(pqmass_chi_square), limits=_POSITIVE
    ),
    "frechet_published": Measure(
        "Fréchet, mean only, published", "", "lower", "paired", _mean_only, published=True, limits=_POSITIVE
    ),
    "frechet": Measure("Fréchet", "", "lower", "independent", _frechet, limits=_POSITIVE),
    "prior_sinkhorn_published": Measure(
        "prior: Sinkhorn, published", "", "lower", "prior", _sets(halved_sinkhorn_divergence), published=True
    ),
    "prior_sinkhorn": Measure("prior: Sinkhorn, debiased", "", "lower", "prior", _sets(_sinkhorn), limits=_POSITIVE),
    "prior_sliced": Measure("prior: sliced W₂", "", "lower", "prior", _sets(sliced_wasserstein), limits=_POSITIVE),
    "prior_pqmass": Measure(
        "prior: PQMass p", "", "half", "prior", _sets(pqmass_p_value), published=True, limits=_PROBABILITY
    ),
    "prior_frechet_published": Measure(
        "prior: Fréchet, mean only, published", "", "lower", "prior", _mean_only, published=True, limits=_POSITIVE
    ),
    "prior_frechet": Measure("prior: Fréchet", "", "lower", "prior", _frechet, limits=_POSITIVE),
}


def measure(name: str, case: Estimates, set_size: int = 512, replicates: int = 8) -> Measured | None:
    """One number of a method's estimates.

    Values of observations that show the same true source are averaged before the bootstrap: they are not independent.

    **Arguments:** `set_size`, the most samples of a distance between sets; `replicates`, half-samples of its interval.

    **Returns:** None where the estimates do not have that number: point estimates no draws, some methods no prior.

    **Raises:** `ImportError` where a package is missing that computes it.
    """
    wanted = MEASURES[name]
    if wanted.kind == "seen":
        if case.seen is None:
            return None
        x, truth = case.seen
        usable = np.isfinite(x.reshape(len(x), -1)).all(1)
        return _of_all(wanted, x[usable], truth[usable], case)
    if wanted.kind == "bits":
        x = _mean(case.draws) if case.mean is None else case.mean
        usable = np.isfinite(x.reshape(len(x), -1)).all(1)
        if case.bits is None or not usable.any():
            return None
        wrong = case.bits(x[usable]) != case.bits(case.truth[usable])
        return Measured(wanted.function(wrong, case.truth, case), int(usable.sum()))
    if wanted.kind == "spread":
        if case.point or case.draws.shape[1] < 2:
            return None
        usable = np.isfinite(case.draws.reshape(len(case.draws), -1)).all(1)
        return _of_all(wanted, case.draws[usable], case.truth[usable], case)
    if wanted.kind in ("draw", "mean", "pooled", "interval"):
        of_draws = {"draw": case.draws[:, 0], "interval": case.draws}
        x = of_draws.get(wanted.kind, _mean(case.draws) if case.mean is None else case.mean)
        usable = np.isfinite(x.reshape(len(x), -1)).all(1)
        few = case.point or case.draws.shape[1] < wanted.least
        if (wanted.kind in of_draws and few) or not usable.any():
            return None
        x, truth = x[usable], case.truth[usable]
        if wanted.kind == "pooled":
            return _of_all(wanted, x, truth, case)
        values = wanted.function(x, truth, case)
        defined = np.isfinite(values)
        return Measured(bootstrap(_by_truth(values[defined], truth[defined])), int(defined.sum()))
    sets = _two_sets(wanted.kind, case, set_size)
    if sets is None:
        return None
    x, truth = sets
    found = half_samples(lambda rows: wanted.function(x[rows], truth[rows], case), len(x), replicates=replicates)
    low, high = np.clip([found.low, found.high], *wanted.limits)
    return Measured(Interval(float(low), found.estimate, float(high)), len(x))


def _of_all(wanted: Measure, x: np.ndarray, truth: np.ndarray, case: Estimates) -> Measured | None:
    if not len(x):
        return None
    return Measured(_resampled(lambda rows: wanted.function(x[rows], truth[rows], case), len(x)), len(x))


def _resampled(value: Callable[[np.ndarray], float], n: int, resamples: int = 200) -> Interval:
    """A value of a set of observations, with the percentile interval of sets drawn with replacement."""
    rng = np.random.default_rng(0)
    low, high = np.quantile([value(rng.integers(n, size=n)) for _ in range(resamples)], [0.025, 0.975])
    return Interval(float(low), value(np.arange(n)), float(high))


def _mean(draws: np.ndarray) -> np.ndarray:
    # an observation all of whose draws diverged has no mean, and is counted as left out
    some = np.isfinite(draws.reshape(*draws.shape[:2], -1)).all(2)
    kept = np.where(some.reshape(*some.shape, *[1] * (draws.ndim - 2)), draws, 0)
    with np.errstate(invalid="ignore"):
        return kept.sum(1) / some.sum(1).reshape(-1, *[1] * (draws.ndim - 2))


def _two_sets(kind: Kind, case: Estimates, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The samples and the truth that a distance compares, equally many of both."""
    if kind == "prior":
        if case.prior is None:
            return None
        n = min(len(case.prior), len(case.truth), most)
        return (case.prior[:n], case.truth[:n]) if n >= 4 else None
    x = case.draws[:, 0]
    usable = np.flatnonzero(np.isfinite(x.reshape(len(x), -1)).all(1))
    if case.point or len(usable) < 8:
        return None
    if kind == "paired":
        rows = usable[:most]
        return x[rows], case.truth[rows]
    half = min(len(usable) // 2, most)
    return x[usable[:half]], case.truth[usable[-half:]]


def _by_truth(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    same = np.unique(truth.reshape(len(truth), -1), axis=0, return_inverse=True)[1].reshape(-1)
    return np.bincount(same, weights=values) / np.bincount(same)


def as_dict(found: Mapping[str, Measured]) -> dict[str, dict[str, float]]:
    """The numbers, fit for JSON."""
    return {
        name: {
            "low": m.interval.low,
            "estimate": m.interval.estimate,
            "high": m.interval.high,
            "samples": m.samples,
        }
        for name, m in found.items()
    }
