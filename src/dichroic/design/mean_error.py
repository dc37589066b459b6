r"""How well the worst-determined pattern of the means will be known, from as many observations as there are.

The means are learned by averaging observations, and these scatter by far more than their noise: by the sources
themselves. If the values of view `v` have the variance :math:`c_v = \tau_v^2 + \sum_s v_s\, \mathrm{tr}(M_{vs}^\top
M_{vs}) / m_v`, for sources of variance :math:`v_s` per entry, then the least-squares estimate of the pattern about
which the information is :math:`\lambda_{\min}` has the standard error

.. math:: \varepsilon = \sqrt{\max_v \frac{c_v}{n_v} \Big/ \lambda_{\min} \bar v}

in standard deviations of the sources. Far below 1 the data decide, near 1 and above the first guess does.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dichroic.design.design_views import DesignView
from dichroic.design.spectrum import Spectrum

__all__ = ["mean_error"]


def mean_error(
    views: Sequence[DesignView],
    means: Spectrum,
    scales: Mapping[str, float],
    traces: Mapping[str, Mapping[str, float]],
    variances: Mapping[str, float],
) -> float:
    """The standard error, infinite with a null space, NaN where the variances of the sources are not known.

    **Arguments:** `means`, the spectrum of order 1 of sources in units of `scales`; `traces`, `{view: {source:
    trace}}`; `variances`, per entry, in the unit of the source.
    """
    if not variances:
        return float("nan")
    scatter = [
        view.noise**2 + sum(variances[s] * traces[view.name].get(s, 0.0) for s in view.sources) / view.data
        for view in views
    ]
    size = float(np.mean([variances[s] / scales[s] ** 2 for s in scales]))
    worst = max(c / view.n for c, view in zip(scatter, views, strict=True))
    return float(np.inf) if means.null or not size else float(np.sqrt(worst / (means.smallest * size)))
