"""Scores of draws and estimates against a known truth.

A metric is a function `(x, y) -> float` of two arrays `(n, ...)`, the samples and the truth; an entry of `METRICS`
says how to read the number.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from dichroic.metrics.binomial import binomial_interval
from dichroic.metrics.bootstrap import Interval, bootstrap
from dichroic.metrics.coverage import coverage, coverage_per_sample, draws_for
from dichroic.metrics.digit_features import DigitFeatures
from dichroic.metrics.emd import emd
from dichroic.metrics.energy import energy_distance
from dichroic.metrics.flux_bias import flux_bias, flux_bias_per_sample
from dichroic.metrics.frechet import frechet_distance, frechet_distance_mean_only
from dichroic.metrics.half_samples import half_samples
from dichroic.metrics.pqmass import PQMass, pqmass, pqmass_chi_square, pqmass_p_value
from dichroic.metrics.psnr import psnr, psnr_per_sample
from dichroic.metrics.si_sdr import si_sdr, si_sdr_per_sample
from dichroic.metrics.sinkhorn import Transport, halved_sinkhorn_divergence, sinkhorn, sinkhorn_divergence
from dichroic.metrics.sliced import sliced_wasserstein


class Metric(NamedTuple):
    """One metric and how to read it.

    `function` takes samples and truth; `unit` is that of its value (`"data"` for the unit of the samples); `better` is
    the direction, `"zero"` for the size of a number that has a sign; `paired` says whether sample `i` is an estimate of
    truth `i`, or the two are just sets; `symmetric`, whether samples and truth can change places.
    """

    function: Callable[..., float]
    unit: str
    better: Literal["higher", "lower", "zero"]
    paired: bool
    symmetric: bool = True


METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, "dB", "higher", paired=True),
    "emd": Metric(emd, "data", "lower", paired=False),
    "energy_distance": Metric(energy_distance, "data", "lower", paired=False),
    "flux_bias": Metric(flux_bias, "share", "zero", paired=True, symmetric=False),
    "frechet_distance": Metric(frechet_distance, "data²", "lower", paired=False),
    "frechet_distance_mean_only": Metric(frechet_distance_mean_only, "data²", "lower", paired=False),
    # its iterations end before they converge
    "halved_sinkhorn_divergence": Metric(halved_sinkhorn_divergence, "data²", "lower", paired=False, symmetric=False),
    # random cells: the same for neither order nor seed
    "pqmass_chi_square": Metric(pqmass_chi_square, "per degree of freedom", "lower", paired=False, symmetric=False),
    "pqmass_p_value": Metric(pqmass_p_value, "probability", "higher", paired=False, symmetric=False),
    "si_sdr": Metric(si_sdr, "dB", "higher", paired=True),
    "sinkhorn_divergence": Metric(sinkhorn_divergence, "data²", "lower", paired=False),
    "sliced_wasserstein": Metric(sliced_wasserstein, "data", "lower", paired=False),
}

__all__ = [
    "METRICS",
    "DigitFeatures",
    "Interval",
    "Metric",
    "PQMass",
    "Transport",
    "binomial_interval",
    "bootstrap",
    "coverage",
    "coverage_per_sample",
    "draws_for",
    "emd",
    "energy_distance",
    "flux_bias",
    "flux_bias_per_sample",
    "frechet_distance",
    "frechet_distance_mean_only",
    "half_samples",
    "halved_sinkhorn_divergence",
    "pqmass",
    "pqmass_chi_square",
    "pqmass_p_value",
    "psnr",
    "psnr_per_sample",
    "si_sdr",
    "si_sdr_per_sample",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
]
