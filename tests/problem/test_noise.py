"""GaussianNoise of a view: its normal form, missing entries, and what is wrong with it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import (
    Censored,
    DenseNoise,
    DiagonalNoise,
    GaussianNoise,
    Laplace,
    PerSample,
    Poisson,
    StudentT,
    take,
)
from dichroic.problem import Problem, ProblemError, Source, View, load_problem, save_problem

pytestmark = pytest.mark.usefixtures("as_for_users")

N, D = 5, 3
RNG = np.random.default_rng(0)
Y = RNG.normal(size=(N, D))
ROOT = RNG.normal(size=(N, D, D))
COVARIANCES = ROOT @ ROOT.swapaxes(1, 2) + np.eye(D)
COVARIANCE = COVARIANCES[0]
MASK = np.ones((N, D), bool)
MASK[1, 2] = MASK[3, 0] = False
SHARED = np.tile([True, False, True], (N, 1))


def bound(noise, observed=None, y=Y):
    return Problem({"a": Source((D,))}, {"v": View(y, {"a": 1.0}, noise, observed)}).views["v"]


def fault(noise, observed=None):
    with pytest.raises(ProblemError) as caught:
        bound(noise, observed)
    return str(caught.value)


def with_(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


# ---- independent noise


@pytest.mark.parametrize(
    "noise", [1, 0.5, np.float32(0.5), np.array(0.5), DiagonalNoise(0.5), DiagonalNoise(np.array(2))]
)
def test_one_number(noise):
    assert isinstance(bound(noise).noise.std, float)


@pytest.mark.parametrize("noise", [[1, 2, 3], np.ones(D, np.float32), jnp.ones(D), DiagonalNoise(np.array([1, 2, 3]))])
def test_one_number_per_entry(noise):
    std = bound(noise).noise.std
    assert std.shape == (D,) and std.dtype == np.float64


@pytest.mark.parametrize("noise", [[1, 2, 3, 4, 5], np.ones(N), np.ones((N, D)), DiagonalNoise(np.ones((N, D)))])
def test_noise_of_every_sample(noise):
    found = bound(PerSample(noise)).noise
    assert isinstance(found, PerSample) and isinstance(found.value, DiagonalNoise)
    assert np.issubdtype(found.value.std.dtype, np.floating)
    bound(PerSample(noise)).select(np.array([1, 3]))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (-1, r"noise must be positive and finite, got -1"),
        (np.nan, r"noise must be positive and finite, got nan"),
        (np.inf, r"noise must be positive and finite, got inf"),
        ([1.0, 0.0, 2.0], r"noise must be positive and finite, got 0 at entry \(1,\)"),
        ([1.0, 2.0], r"noise: expected one number or shape \(3,\), got shape \(2,\)"),
        (
            np.ones((N, D)),
            r"expected one number or shape \(3,\), got shape \(5, 3\); if every sample has its own, .*PerSample",
        ),
        (np.ones(N), r"got shape \(5,\); if every sample has its own"),
        (None, r"noise: expected standard deviations: expected numbers, got nothing"),
        ("0.1", r"noise: expected standard deviations: expected numbers"),
        ([[1], [1, 2]], r"noise: expected standard deviations: .*does not form one"),
        ({"std": 1.0}, r"noise: expected standard deviations: expected numbers, got a dict"),
        (True, r"noise: expected real standard deviations, got values of type bool"),
        (1j, r"noise: expected real standard deviations, got values of type complex128"),
        (DiagonalNoise, r"noise: expected standard deviations: expected numbers"),
        (PerSample(0.1), r"noise: per-sample noise needs a leading axis of 5 samples, got one number"),
        (PerSample(np.ones(4)), r"noise for 4 samples, but y has 5"),
        (PerSample(np.ones((N, 2))), r"noise: expected shape \(3,\) per sample, got \(2,\)"),
        (PerSample(with_(np.ones(N), 2, 0)), r"sample 2 has noise that is not positive and finite"),
        (PerSample(with_(np.ones((N, D)), ([1, 4], 0), np.nan)), r"samples 1, 4 have noise that is not positive"),
        (PerSample("x"), r"noise: expected standard deviations"),
    ],
)
def test_wrong_noise(noise, message):
    assert re.search(message, fault(noise))


@pytest.mark.parametrize("hole", [np.nan, 0.0, np.inf, -1.0])
def test_noise_matters_only_where_there_is_data(hole):
    for noise, observed in [
        (PerSample(np.where(MASK, 0.5, hole)), MASK),
        (np.where(SHARED[0], 0.5, hole), SHARED),
        (DiagonalNoise(np.where(SHARED[0], 0.5, hole)), SHARED),
    ]:
        view = bound(noise, observed)
        for i in range(N):
            one = take(view.observations, i)
            assert np.isfinite(one.likelihood.whiten(jnp.asarray(one.y))).all()
            np.testing.assert_allclose(
                one.likelihood.log_det(jnp.asarray(one.observed)), one.observed.sum() * np.log(0.25), rtol=1e-6
            )


def test_noise_of_an_entry_that_some_sample_has():
    assert "got nan at entry (2,)" in fault([1.0, 1.0, np.nan], MASK)
    assert "sample 0 has noise" in fault(PerSample(with_(np.ones((N, D)), (0, 1), np.nan)), MASK)


# ---- correlated noise


def test_correlated_noise_without_missing_entries_is_left_alone():
    noise = DenseNoise.from_covariance(COVARIANCE)
    assert bound(noise).noise is noise
    noise = PerSample(DenseNoise.from_covariance(COVARIANCES))
    assert bound(noise).noise is noise


@pytest.mark.parametrize("per_sample", [False, True])
def test_missing_entries_are_decoupled(per_sample):
    if per_sample:
        noise = PerSample(DenseNoise.from_covariance(COVARIANCES))
    else:
        noise = DenseNoise.from_covariance(COVARIANCE)
    view = bound(noise, MASK)
    for i in range(N):
        one, keep = take(view.observations, i), MASK[i]
        covariance = (COVARIANCES[i] if per_sample else COVARIANCE)[np.ix_(keep, keep)]
        expected = np.linalg.solve(covariance, Y[i, keep])
        np.testing.assert_allclose(np.asarray(one.likelihood.solve(jnp.asarray(one.y)))[keep], expected, rtol=2e-5)
        np.testing.assert_allclose(
            one.likelihood.log_det(jnp.asarray(one.observed)), np.linalg.slogdet(covariance)[1], rtol=1e-5
        )


def test_one_mask_for_all_keeps_one_covariance():
    view = bound(DenseNoise.from_covariance(COVARIANCE), SHARED)
    assert isinstance(view.noise, DenseNoise)
    keep = SHARED[0]
    expected = np.linalg.solve(COVARIANCE[np.ix_(keep, keep)], Y[0, keep])
    np.testing.assert_allclose(np.asarray(view.noise.solve(jnp.asarray(view.y[0])))[keep], expected, rtol=2e-5)


@pytest.mark.parametrize("observed", [MASK, SHARED])
def test_binding_twice_changes_nothing(observed):
    once = Problem({"a": Source((D,))}, {"v": View(Y, {"a": 1.0}, DenseNoise.from_covariance(COVARIANCE), observed)})
    twice = Problem(once.sources, once.views)
    assert twice.fingerprint() == once.fingerprint()
    assert once.select({"v": np.arange(N)}).fingerprint() == once.fingerprint()
    part = once.select({"v": np.array([3, 1])}).views["v"]
    for i, j in enumerate([3, 1]):
        whole = take(once.views["v"].noise, j)
        np.testing.assert_array_equal(np.asarray(take(part.noise, i).factor), np.asarray(whole.factor))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (DenseNoise.from_covariance(np.eye(4)), r"noise covariance: expected shape \(3, 3\), got \(4, 4\)"),
        (DenseNoise.from_covariance(COVARIANCES), r"noise covariance: expected shape \(3, 3\), got \(5, 3, 3\)"),
        (PerSample(DenseNoise.from_covariance(COVARIANCE)), r"expected shape \(5, 3, 3\), got \(3, 3\)"),
        (PerSample(DenseNoise.from_covariance(COVARIANCES[:4])), r"expected shape \(5, 3, 3\), got \(4, 3, 3\)"),
        (DenseNoise(np.full((D, D), np.nan), np.eye(D)), r"its factor has values that are not finite"),
        (DenseNoise(np.eye(D), np.eye(2)), r"noise covariance: expected shape \(3, 3\), got \(2, 2\)"),
        (DenseNoise(1j * np.eye(D), np.eye(D)), r"expected a real factor"),
        (DenseNoise(np.zeros((D, D)), np.eye(D)), r"lower triangular with a positive diagonal"),
        (DenseNoise(np.ones((D, D)) + np.eye(D), np.eye(D)), r"lower triangular with a positive diagonal"),
        (DenseNoise(np.eye(D), 5 * np.eye(D)), r"the whitener is not the inverse of the factor"),
    ],
)
def test_wrong_covariances(noise, message):
    assert re.search(message, fault(noise))
    assert re.search(message, fault(noise, MASK))


def test_covariances_too_large_for_memory_are_refused_before_they_are_made():
    y = np.zeros((2000, 1500), np.float32)
    y[0, 0] = np.nan
    noise = DenseNoise(np.eye(1500), np.eye(1500))
    with pytest.raises(ProblemError, match=r"every sample needs one of its own, 72 GB in all; use independent noise"):
        Problem({"a": Source((1500,))}, {"v": View(y, {"a": 1.0}, noise)})


class Halved(GaussianNoise):
    """A user's own noise."""

    drop: int = 0

    def whiten(self, r):
        return 2 * r[self.drop :]

    def unwhiten(self, z):
        return z / 2

    def solve(self, r):
        return 4 * r

    def log_det(self, observed):
        return jnp.zeros(())


def test_other_classes_of_noise():
    assert isinstance(bound(Halved()).noise, Halved)
    assert isinstance(bound(Halved(), MASK).noise, Halved)
    assert "noise: whitened data must keep the shape (3,), got (2,)" in fault(Halved(1))


# ---- in a file


@pytest.fixture
def read(tmp_path):
    def read(noise, y=Y, **arrays):
        np.savez(tmp_path / "a.npz", y=y, **arrays)
        (tmp_path / "p.toml").write_text(
            f'sources.a.shape = [3]\n[views.v]\ny = "a.npz:y"\nmixing.a = 1.0\nnoise = {noise}\n'
        )
        return load_problem(tmp_path / "p.toml").problem.views["v"]

    return read


def test_noise_in_a_file(read):
    assert read("0.5").noise.std == 0.5
    np.testing.assert_array_equal(read("[1.0, 2.0, 3.0]").noise.std, [1, 2, 3])
    np.testing.assert_array_equal(read("{ std = 'a.npz:s' }", s=np.ones(D)).noise.std, 1)
    np.testing.assert_array_equal(read("{ array = 'a.npz:s', scale = 0.5 }", s=np.ones(D)).noise.std, 0.5)
    noise = read("{ std = 'a.npz:s', per_sample = true }", s=np.ones(N)).noise
    assert isinstance(noise, PerSample)
    noise = read("{ covariance = 'a.npz:c' }", c=COVARIANCE).noise
    np.testing.assert_allclose(noise.factor @ noise.factor.T, COVARIANCE)
    noise = read("{ covariance = 'a.npz:c', per_sample = true }", c=COVARIANCES).noise
    np.testing.assert_allclose(noise.value.factor @ noise.value.factor.swapaxes(1, 2), COVARIANCES)
    noise = read("{ factor = 'a.npz:c' }", c=np.linalg.cholesky(COVARIANCE)).noise
    np.testing.assert_allclose(noise.whitener @ noise.factor, np.eye(D), atol=1e-12)


def test_a_covariance_may_hold_anything_where_there_is_no_data(read):
    hole = COVARIANCE.copy()
    hole[1] = hole[:, 1] = np.nan
    noise = read("{ covariance = 'a.npz:c' }", y=np.where(SHARED, Y, np.nan), c=hole).noise
    assert np.isfinite(noise.factor).all()
    holes = np.where(MASK[:, :, None] & MASK[:, None, :], COVARIANCES, np.nan)
    noise = read("{ covariance = 'a.npz:c', per_sample = true }", y=np.where(MASK, Y, np.nan), c=holes).noise
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(np.isfinite(leaf).all()), noise))


@pytest.mark.parametrize(
    ("noise", "arrays", "message"),
    [
        ("{}", {}, r"view 'v': noise: give one of 'std', 'variance', .*, got neither"),
        (
            "{ std = 1.0, covariance = 'a.npz:c' }",
            {},
            r"noise: give one of 'std', .*, got std and covariance",
        ),
        ("{ sdt = 1.0 }", {}, r"noise: unknown key 'sdt'; known: 'std', .*did you mean 'std'\?"),
        ("{ std = 1.0, whitener = 1.0 }", {}, r"'whitener' belongs to 'factor'"),
        ("{ std = 1.0, per_sample = 'yes' }", {}, r"noise: per_sample: expected a boolean, got 'yes'"),
        ("{ std = 1.0, per_sample = true }", {}, r"per-sample noise needs a leading axis of 5 samples"),
        ("'a.npz:s'", {}, r"noise: no 's' in 'a.npz'"),
        ("true", {}, r"noise: expected a number, a list"),
        (
            "{ covariance = 'a.npz:c' }",
            {"c": np.eye(2)},
            r"noise: covariance: expected the shape \(3, 3\), got \(2, 2\)",
        ),
        ("{ covariance = 1.0 }", {}, r"noise: covariance: expected the shape \(3, 3\), got \(\)"),
        ("{ covariance = 'a.npz:c' }", {"c": COVARIANCES}, r"expected the shape \(3, 3\), got \(5, 3, 3\)"),
        (
            "{ covariance = 'a.npz:c', per_sample = true }",
            {"c": COVARIANCE},
            r"expected one per sample, each of shape \(3, 3\), got \(3, 3\)",
        ),
        (
            "{ covariance = 'a.npz:c', per_sample = true }",
            {"c": COVARIANCES[:4]},
            r"shape \(5, 3, 3\), got \(4, 3, 3\)",
        ),
        (
            "{ covariance = 'a.npz:c' }",
            {"c": -COVARIANCE},
            r"covariance: is not positive definite: entry 0 has the variance -",
        ),
        ("{ covariance = 'a.npz:c' }", {"c": np.triu(COVARIANCE)}, r"noise: covariance: is not symmetric$"),
        ("{ covariance = 'a.npz:c' }", {"c": with_(COVARIANCE, (1, 2), np.nan)}, r"not finite, the first at \(1, 2\)"),
        ("{ covariance = 'a.npz:c' }", {"c": 1j * COVARIANCE}, r"covariance: expected real values, got complex ones"),
        (
            "{ covariance = 'a.npz:c', per_sample = true }",
            {"c": with_(COVARIANCES, 3, -np.eye(D))},
            r"noise: covariance: sample 3: is not positive definite",
        ),
    ],
)
def test_wrong_noise_in_a_file(read, noise, arrays, message):
    with pytest.raises(ProblemError, match=message):
        read(noise, **arrays)


# ---- noise as others write it


@pytest.mark.parametrize("unit", [1e-17, 1.0, 1e12])
def test_variances_and_weights(read, unit):
    std = unit * np.array([0.5, 1.0, 2.0])
    for spec, array in (("variance", std**2), ("ivar", std**-2), ("weight", std**-2)):
        found = read(f"{{ {spec} = 'a.npz:s' }}", y=unit * Y, s=array).noise.std
        np.testing.assert_allclose(found, std, rtol=1e-12)
    each = unit * np.arange(1.0, N + 1)
    noise = read("{ variance = 'a.npz:s', per_sample = true }", y=unit * Y, s=each**2).noise
    np.testing.assert_allclose(noise.value.std, each, rtol=1e-12)
    assert read("{ variance = 4 }").noise.std == 2.0


@pytest.mark.parametrize("per_sample", [False, True])
def test_infinite_noise_is_missing_data(read, per_sample):
    mask = MASK if per_sample else SHARED
    std = np.where(mask, 0.5, np.inf) if per_sample else np.where(mask[0], 0.5, np.inf)
    plain = bound(PerSample(np.full((N, D), 0.5)) if per_sample else np.full(D, 0.5), mask)
    found = bound(PerSample(std) if per_sample else std)
    np.testing.assert_array_equal(found.observed, plain.observed)
    np.testing.assert_array_equal(found.y, plain.y)
    assert "no observed entry" in fault([np.inf] * D)
    marks = ", per_sample = true" if per_sample else ""
    weights = read(f"{{ weight = 'a.npz:w'{marks} }}", w=np.where(np.isfinite(std), 4.0, 0.0))
    np.testing.assert_array_equal(weights.observed, plain.observed)
    file = read(f"{{ std = 'a.npz:w'{marks} }}", w=std)
    np.testing.assert_array_equal(file.observed, plain.observed)
    if per_sample:  # whole observations are left with nothing, which is said
        assert "sample 1 has no observed entry" in fault(PerSample(with_(np.ones(N), 1, np.inf)))


@pytest.mark.parametrize("hole", [0.0, np.nan])
def test_what_is_no_noise_may_be_missing_data(hole):
    for noise in (with_(np.ones(D), 1, hole), PerSample(with_(np.ones((N, D)), (2, 1), hole))):
        assert re.search("the data are missing: write NaN in y", fault(noise))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("sigma", "did you mean 'std'?"),
        ("rms", "did you mean 'std'?"),
        ("var", "did you mean 'variance'?"),
        ("invvar", "did you mean 'ivar'?"),
        ("weights", "did you mean 'weight'?"),
        ("cov", "did you mean 'covariance'?"),
        ("mask", "what was measured is said by the view: observed = "),
        ("psf", "a blur belongs to the mixing"),
    ],
)
def test_other_words_for_noise(read, key, hint):
    with pytest.raises(ProblemError) as caught:
        read(f"{{ {key} = 0.1 }}")
    assert hint in str(caught.value)


def test_a_variance_per_entry_is_no_covariance(read):
    with pytest.raises(ProblemError, match=r"one variance per entry is written \{ variance = \.\.\. \}"):
        read("{ covariance = 'a.npz:s' }", s=np.ones(D))
    with pytest.raises(ProblemError, match=r"a number is written without quotes"):
        read("'0.1'")


# ---- covariances, in any unit


@pytest.mark.parametrize("unit", [1e-13, 0.3, 1.0, 1e3])
def test_directions_without_noise_are_counted(unit):
    m = 16
    reference = np.eye(m) - 1 / m  # after an average reference
    with pytest.raises(ValueError, match=r"no noise at all along 1 of 16 directions \(rank 15\)"):
        DenseNoise.from_covariance(unit**2 * reference)
    B = np.random.default_rng(3).normal(size=(m, 12))
    with pytest.raises(ValueError, match=r"along 4 of 16 directions \(rank 12\)"):
        DenseNoise.from_covariance(unit**2 * (B @ B.T))
    with pytest.raises(ValueError, match=r"its smallest eigenvalue is -"):
        DenseNoise.from_covariance(unit**2 * (np.eye(m) - 1.5 / m))
    fine = DenseNoise.from_covariance(unit**2 * (reference + 1e-6 * np.eye(m)))
    np.testing.assert_allclose(fine.factor @ fine.factor.T / unit**2, reference + 1e-6 * np.eye(m), atol=1e-12)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e3])
def test_rounding_to_single_precision_is_forgiven(unit):
    rng = np.random.default_rng(0)
    R = rng.normal(size=(48, 48)).astype(np.float32)
    covariance = (np.float32(unit**2) * R) @ np.diag(rng.uniform(0.5, 2, 48)).astype(np.float32) @ R.T
    covariance += np.float32(unit**2) * np.eye(48, dtype=np.float32)
    assert not np.array_equal(covariance, covariance.T)
    for given in (covariance, covariance.astype(float)):
        found = DenseNoise.from_covariance(given)
        expected = (covariance.astype(float) + covariance.T) / 2
        np.testing.assert_allclose(found.factor @ found.factor.T, expected, rtol=1e-9, atol=1e-12 * unit**2)
    with pytest.raises(ValueError, match="is not symmetric"):
        DenseNoise.from_covariance(covariance + unit**2 * 0.01 * np.triu(np.ones((48, 48)), 1))


# ---- noise that is not Gaussian


OTHERS = """
[sources.a]
shape = [3]

[views.v]
y = {y}
noise = {noise}
mixing = {{ a = 1.0 }}
"""


def read_other(tmp_path, noise, y="[[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]]"):
    (tmp_path / "problem.toml").write_text(OTHERS.format(noise=noise, y=y))
    return load_problem(tmp_path / "problem.toml").problem


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{ student_t = { scale = 0.1, freedom = 3 } }", StudentT(0.1, 3)),
        ("{ student_t = 0.1, freedom = inf }", StudentT(0.1, np.inf)),
        ("{ laplace = 0.1 }", Laplace(0.1)),
        ("{ poisson = { gain = 1.0, read = 2.0 } }", Poisson(1.0, 2.0)),
        ("{ poisson = 0.5 }", Poisson(0.5)),
        ("{ std = 0.1, clipped = [0, 255] }", Censored(0.1, (0, 255))),
        ("{ std = 0.1, clipped = [-inf, 3.0], step = 1.0 }", Censored(0.1, (-np.inf, 3), 1)),
        ("{ std = 0.1, step = 1.0 }", Censored(0.1, step=1)),
    ],
)
def test_other_noise_is_read_and_written_again(tmp_path, written, expected):
    problem = read_other(tmp_path, written)
    assert problem.views["v"].noise == expected and not problem.views["v"].is_gaussian
    again = load_problem(save_problem(problem, tmp_path / "again")).problem
    assert again.fingerprint() == problem.fingerprint()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{ student_t = 0.1 }", "student_t: 'freedom' is missing"),
        ("{ student_t = { scale = 0.1, freedom = -1 } }", "student_t: freedom: expected a positive number, got -1"),
        ("{ laplace = 0.0 }", "noise: scale must be positive and finite, got 0"),
        ("{ clipped = [0, 1] }", "clipped: 'std' is missing"),
        ("{ std = 0.1, clipped = [0, 2] }", r"values are clipped to \[0, 2\], and y has 3"),
        ("{ std = 0.1, clipped = [0] }", "clipped: expected the least and the largest value"),
        ("{ std = 0.1, variance = 0.1 }", "give one of .* got std and variance"),
        ("{ poisson = 1.0, std = 0.1 }", "give one of .* got poisson and std"),
    ],
)
def test_other_noise_that_cannot_be(tmp_path, written, message):
    with pytest.raises(ProblemError, match=message):
        read_other(tmp_path, written)


def test_data_that_cannot_be_counts():
    assert "counts are real numbers, and y is complex" in fault_of(Poisson(1.0), Y + 1j, 1j)
    assert "counts are never negative, and y has -" in fault_of(Poisson(1.0), Y, 1.0)
    y = with_(np.abs(Y), (1, 2), -1.0)
    Problem({"a": Source((D,))}, {"v": View(y, {"a": 1.0}, Poisson(1.0), MASK)})  # it is missing there


def fault_of(noise, y, amplitude):
    with pytest.raises(ProblemError) as caught:
        Problem({"a": Source((D,))}, {"v": View(y, {"a": amplitude}, noise)})
    return str(caught.value)
