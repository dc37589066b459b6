"""Scores of draws and estimates against a known truth.

A metric is a function `(x, y) -> float` of two arrays `(n, ...)`, the samples and the truth; an entry of `METRICS`
says how to read the number.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from dichroic.metrics.bootstrap import Interval, bootstrap
from dichroic.metrics.emd import emd
from dichroic.metrics.energy import energy_distance
from dichroic.metrics.psnr import psnr, psnr_per_sample
from dichroic.metrics.sinkhorn import Transport, halved_sinkhorn_divergence, sinkhorn, sinkhorn_divergence
from dichroic.metrics.sliced import sliced_wasserstein


class Metric(NamedTuple):
    """One metric and how to read it.

    `function` takes samples and truth; `unit` is that of its value (`"data"` for the unit of the samples); `better` is
    the direction; `paired` says whether sample `i` is an estimate of truth `i`, or the two are just sets; `symmetric`,
    whether samples and truth can change places.
    """

    function: Callable[..., float]
    unit: str
    better: Literal["higher", "lower"]
    paired: bool
    symmetric: bool = True


METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, "dB", "higher", paired=True),
    "emd": Metric(emd, "data", "lower", paired=False),
    "energy_distance": Metric(energy_distance, "data", "lower", paired=False),
    # its iterations end before they converge
    "halved_sinkhorn_divergence": Metric(halved_sinkhorn_divergence, "data²", "lower", paired=False, symmetric=False),
    "sinkhorn_divergence": Metric(sinkhorn_divergence, "data²", "lower", paired=False),
    "sliced_wasserstein": Metric(sliced_wasserstein, "data", "lower", paired=False),
}

__all__ = [
    "METRICS",
    "Interval",
    "Metric",
    "Transport",
    "bootstrap",
    "emd",
    "energy_distance",
    "halved_sinkhorn_divergence",
    "psnr",
    "psnr_per_sample",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
]
