"""What holds for every metric of the list."""

import inspect

import numpy as np
import pytest

from dichroic.metrics import METRICS, psnr

ALL = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
SETS = pytest.mark.parametrize(
    "metric", [m for m in METRICS.values() if not m.paired], ids=[n for n, m in METRICS.items() if not m.paired]
)


def normal(seed, n=60, shape=(2, 2)):
    return np.random.default_rng(seed).normal(size=(n, *shape))


@ALL
def test_closer_is_better(metric):
    truth = normal(0)
    other = truth if metric.paired else normal(1)
    values = [metric.function(other + shift, truth) for shift in (0.2, 1.0, 3.0)]
    assert all(isinstance(v, float) for v in values)
    values = [abs(v) for v in values] if metric.better == "zero" else values
    assert values == sorted(values, reverse=metric.better == "higher")


@ALL
def test_symmetric_where_claimed(metric):
    x, y = normal(0), 0.5 + normal(1)
    equal = metric.function(x, y) == pytest.approx(metric.function(y, x), rel=1e-3)
    assert equal or not metric.symmetric


@ALL
def test_complex_values_count_as_pairs(metric):
    x, y = normal(0, shape=(3, 2)), 1 + normal(1, shape=(3, 2))
    pair = metric.function(x[..., 0] + 1j * x[..., 1], y[..., 0] + 1j * y[..., 1])
    # the mean square of a complex number is twice the one of its parts
    assert pair == pytest.approx(metric.function(x, y) - (10 * np.log10(2) if metric.function is psnr else 0), abs=1e-4)


@ALL
def test_shapes_are_checked(metric):
    with pytest.raises(ValueError, match=r"\(60, 2, 2\)"):
        metric.function(normal(0), normal(1, shape=(3,)))
    assert "shape" in (inspect.getdoc(metric.function) or "") or metric.paired


@SETS
def test_sets_of_different_size_and_type(metric):
    x, y = normal(0, 80), 1 + normal(1)
    value = metric.function(x, y)
    assert metric.function(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(value, rel=1e-4)
    assert value > 0


@SETS
def test_one_sample_is_not_a_set(metric):
    with pytest.raises(ValueError, match="at least two samples"):
        metric.function(normal(0, 1), normal(1))
