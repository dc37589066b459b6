"""Records from their windows: means and draws are those of the record, and nothing shows where windows meet."""

import jax
import numpy as np
import pytest

from dichroic import GaussianDenoiser
from dichroic.diffusion import DenoiserPrior
from dichroic.formats import Axis, Labels, Windows
from dichroic.problem import Problem, Source, View
from dichroic.run import RunError, Separation, separate, stitched
from dichroic.run.stitching import in_pieces
from dichroic.run.window_keys import window_keys

RNG = np.random.default_rng(0)


def in_windows(records, size, hop, draws=None, means=None):
    """A separation of the windows of records, from windows of their means and draws."""
    windows = Windows.over([x.shape[: len(size)] for x in records], size, hop)
    mean = windows.cut(means if means is not None else records).astype(np.float32)
    drawn = mean[:, None] if draws is None else draws(windows).astype(np.float32)
    n, k = drawn.shape[:2]
    return Separation(
        {"v": {"s": drawn}},
        {"v": np.ones((n, k), np.float32)},
        {"v": np.zeros((n, k), bool)},
        1,
        means={"v": {"s": mean}},
        labels={"v": Labels(windows=windows, records=Labels(ids=np.asarray([str(i) for i in range(len(records))])))},
    )


@pytest.mark.parametrize(("shape", "size", "hop"), [((37,), (8,), (4,)), ((11, 9, 2), (4, 6), (3, 2))])
def test_windows_make_the_record_again(shape, size, hop):
    records = [RNG.normal(size=shape), RNG.normal(size=shape)]
    found = stitched(in_windows(records, size, hop))
    np.testing.assert_allclose(found.mean("v", "s"), records, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.draws("v", "s")[:, 0], records, rtol=1e-5, atol=1e-6)
    assert list(found.labels["v"].ids) == ["0", "1"]


def test_records_of_several_lengths_end_in_nothing():
    found = stitched(in_windows([np.arange(12.0), np.arange(9.0)], (4,), (2,))).mean("v", "s")
    np.testing.assert_allclose(found[1][:9], np.arange(9.0), atol=1e-5)
    assert np.isnan(found[1][9:]).all()


@pytest.mark.parametrize("rho", [0.0, 0.6, 1.0])
def test_draws_are_as_scattered_at_the_seams_as_elsewhere(rho):
    """Windows' draws whose deviations are a stationary process, with the correlation `rho` between neighbours."""
    rng, size, hop, draws = np.random.default_rng(1), 32, 16, 200
    record = np.zeros(16 * 32)
    kernel = np.ones(3) / 3**0.5

    def process(*shape):
        return np.apply_along_axis(np.convolve, -1, rng.normal(size=(*shape[:-1], shape[-1] + 2)), kernel, "valid")

    common = process(draws, len(record))

    def drawn(windows):
        own = process(len(windows), draws, size)
        shared = np.stack([common[:, windows.place(i)[0]] for i in range(len(windows))])
        return rho**0.5 * shared + (1 - rho) ** 0.5 * own

    x = stitched(in_windows([record], (size,), (hop,), drawn)).draws("v", "s")[0]
    variance = x.var(0).reshape(-1, hop)[2:-2].mean(0)  # by the place between two seams
    error = (2 / (draws * 28)) ** 0.5
    np.testing.assert_allclose(variance, 1, atol=5 * error)
    lag = (x[:, 1:] * x[:, :-1]).mean(0)[: 31 * 16].reshape(-1, hop)[2:-2].mean(0)
    np.testing.assert_allclose(lag, 2 / 3, atol=5 * error)


def test_windows_that_are_missing_are_not_made_up():
    found = in_windows([np.arange(12.0)], (4,), (2,))
    labels = found.labels["v"].select(np.arange(3))
    part = Separation(
        {"v": {"s": found.samples["v"]["s"][:3]}},
        {"v": np.ones((3, 1))},
        {"v": np.zeros((3, 1), bool)},
        1,
        labels={"v": labels},
    )
    with pytest.raises(RunError, match="has 3 of 5 windows"):
        stitched(part)


def test_stretches_without_a_gap_are_put_together():
    records = [np.arange(12.0), 100 + np.arange(12.0)]
    found, kept = in_windows(records, (4,), (2,)), np.asarray([0, 3, 4, 6, 5])
    part = Separation(
        {"v": {"s": found.samples["v"]["s"][kept]}},
        {"v": np.ones((5, 1))},
        {"v": np.zeros((5, 1), bool)},
        1,
        labels={"v": found.labels["v"].select(kept)},
    )
    joined = stitched(in_pieces(part))
    assert list(joined.labels["v"].ids) == ["0@0", "0@6", "1@0"]
    mean = joined.mean("v", "s")
    np.testing.assert_allclose(mean[0, :4], np.arange(4.0))
    np.testing.assert_allclose(mean[1], 6 + np.arange(6.0))
    np.testing.assert_allclose(mean[2], np.r_[100 + np.arange(6.0)])


def test_windows_share_random_numbers_where_they_overlap():
    windows = Windows.over([(40,), (40,)], (16,), (8,))
    keys = window_keys(jax.random.key(0), windows)
    draw = jax.jit(jax.vmap(lambda k: jax.random.normal(jax.random.split(jax.random.fold_in(k, 3))[1], (16,))))
    x = np.asarray(draw(keys))
    np.testing.assert_array_equal(x[0, 8:], x[1, :8])
    assert not np.isin(x[4:], x[:4]).any()  # another record
    assert abs(x[[0, 2, 4, 6]].std() - 1) < 5 / (2 * 64) ** 0.5


def test_a_record_is_separated_as_if_it_were_one():
    """A white source under white noise: mean and variance of the stitched draws are those of the formula."""
    rng, size, hop, length = np.random.default_rng(2), 8, 4, 252
    y = rng.normal(size=(1, length)) * 1.25**0.5
    windows = Windows.over([(length,)], (size,), (hop,))
    labels = Labels(axes=(Axis("time", step=1.0, unit="s"),), windows=windows, records=Labels(ids=np.asarray(["r"])))
    view = View(windows.cut(list(y)).astype(np.float32), {"s": 1.0}, 0.5, labels=labels)
    prior = DenoiserPrior(GaussianDenoiser(np.zeros(size), np.zeros((size, 0)), np.zeros(0), np.ones(())))
    problem = Problem({"s": Source((size,))}, {"v": view})
    windowed = separate(problem, {"s": prior}, key=jax.random.key(0), draws=32)
    found = stitched(windowed)
    assert found.draws("v", "s").shape == (1, 32, length) and found.labels["v"].name(0) == "r"
    np.testing.assert_allclose(found.mean("v", "s"), y / 1.25, rtol=1e-4, atol=1e-5)
    deviation = found.draws("v", "s")[0] - found.mean("v", "s")[0]
    variance = (deviation**2).mean(0)[:248].reshape(-1, hop)[1:-1].mean(0)
    np.testing.assert_allclose(variance, 0.2, rtol=5 * (2 / (32 * 60)) ** 0.5)
    neighbours = (deviation[:, 1:] * deviation[:, :-1]).mean()
    assert abs(neighbours) < 5 * 0.2 / (32 * length) ** 0.5
