"""Units, masks and labels of rich containers are honoured or refused; the packages themselves need not be there."""

import numpy as np
import pytest

from dichroic.operators import Dense, Mask, PerSample, Scale
from dichroic.problem import Problem, ProblemError, Source, View

pytestmark = pytest.mark.usefixtures("as_for_users")

N, D = 5, 3
Y = np.random.default_rng(0).normal(size=(N, D))
MASK = np.zeros((N, D), bool)
MASK[1, 2] = MASK[3, 0] = True
_SIZES = {"Jy": 1.0, "mJy": 1e-3, "s": None}


class Unit:
    """As astropy's."""

    def __init__(self, name):
        self.name = name

    def __str__(self):
        return self.name

    def to(self, other):
        if self.name == str(other):
            return 1.0
        a, b = _SIZES[self.name], _SIZES[str(other)]
        if a is None or b is None:
            raise TypeError("not convertible")
        return a / b


class Quantity(np.ndarray):
    def __new__(cls, values, unit):
        found = np.asarray(values, float).view(cls)
        found.unit = Unit(unit)
        return found

    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", None)

    def to_value(self, unit):
        return np.asarray(self) * self.unit.to(unit)


class CCDData:
    def __init__(self, data, mask=None, unit=None):
        self.data, self.mask, self.unit, self.uncertainty = data, mask, unit, None


class DataArray:
    def __init__(self, values, dims, units=None):
        self.values, self.dims, self.attrs = values, dims, {"units": units} if units else {}

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class DataFrame:
    iloc = None

    def __init__(self, values, columns):
        self.values, self.columns, self.index = values, columns, range(len(values))

    def to_numpy(self):
        return self.values


def bound(y, noise=0.1, mixing=1.0, observed=None, truth=None):
    view = View(y, {"a": mixing}, noise, observed, {} if truth is None else {"a": truth})
    return Problem({"a": Source((D,))}, {"v": view}).views["v"]


def fault(*args, **options):
    with pytest.raises(ProblemError) as caught:
        bound(*args, **options)
    return str(caught.value)


def test_noise_is_converted_to_the_unit_of_the_data():
    for noise in (Quantity(2e-4, "Jy"), Quantity(np.full(D, 2e-4), "Jy"), PerSample(Quantity(np.full(N, 2e-4), "Jy"))):
        found = bound(Quantity(Y, "mJy"), noise).noise
        std = found.value.std if isinstance(found, PerSample) else found.std
        np.testing.assert_allclose(std, 0.2, rtol=1e-12)
        assert type(np.asarray(std)) is np.ndarray
    np.testing.assert_array_equal(bound(Quantity(Y, "mJy")).y, Y)
    assert type(bound(Quantity(Y, "mJy")).y) is np.ndarray
    truth = bound(Quantity(Y, "mJy"), truth=Quantity(Y, "Jy")).truth["a"]
    np.testing.assert_allclose(truth, 1e3 * Y, rtol=1e-6)


def test_units_that_do_not_fit_are_refused():
    assert "noise: the values have the unit s, which does not convert to mJy" in fault(
        Quantity(Y, "mJy"), Quantity(1, "s")
    )
    assert "noise: the values have the unit Jy, but y has none" in fault(Y, Quantity(1, "Jy"))
    assert "truth of source 'a': the values have the unit Jy, but y has none" in fault(Y, truth=Quantity(Y, "Jy"))
    for operator in (
        Dense(Quantity(np.eye(D), "Jy")),
        Mask(Quantity(np.ones(D), "Jy")),
        Scale(Quantity(2, "Jy"), (D,)),
    ):
        assert "a parameter with a unit or a mask" in fault(Y, mixing=operator)
    assert "the unit Jy" in fault(Y, mixing=PerSample(Quantity(np.ones(N), "Jy")))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y, m: np.ma.array(y, mask=m),
        lambda y, m: CCDData(y, m, Unit("mJy")),
        lambda y, m: CCDData(y, m),
        lambda y, m: np.ma.array(np.where(m, 1e30, y), mask=m),
    ],
)
def test_masks_become_missing_data(wrap):
    plain = bound(np.where(MASK, np.nan, Y))
    found = bound(wrap(Y, MASK))
    np.testing.assert_array_equal(found.observed, plain.observed)
    np.testing.assert_array_equal(found.y, plain.y)
    assert bound(wrap(Y, np.zeros_like(MASK))).observed is None


class Masked(np.ndarray):
    """As astropy's, of plain numbers: no masked array of NumPy's."""

    def __new__(cls, values, mask):
        found = np.asarray(values, float).view(cls)
        found.unmasked, found.mask = np.asarray(values, float), mask
        return found


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_keep_what_their_members_know(kind):
    for wrap in (
        lambda y, m: np.ma.array(y, mask=m),
        lambda y, m: CCDData(y, m, Unit("mJy")),
        Masked,
    ):
        np.testing.assert_array_equal(bound(wrap(Y, MASK)).observed, ~MASK)
        found = bound(kind(wrap(*one) for one in zip(Y, MASK, strict=True)))
        np.testing.assert_array_equal(found.observed, ~MASK)
    same = bound(kind(Quantity(y, "mJy") for y in Y), PerSample(kind(Quantity(2e-4, "Jy") for _ in Y)))
    np.testing.assert_array_equal(same.y, Y)
    np.testing.assert_allclose(same.noise.value.std, 0.2)
    units = ["mJy", *["Jy"] * (N - 1)]
    mixed = kind(Quantity(y, unit) for y, unit in zip(Y, units, strict=True))
    assert "'1' has the unit Jy, '0' mJy" in fault(mixed)
    assert "in another order" in fault(kind(DataArray(np.ones((D, D)), dims) for dims in (("a", "b"), ("b", "a"))))


class Uncertainty:
    def __init__(self, kind, array, unit=None):
        self.uncertainty_type, self.array, self.unit = kind, array, unit


def test_uncertainties_are_the_kind_they_say():
    for kind, values in {"std": [0.1, 0.2, 0.5], "var": [0.01, 0.04, 0.25], "ivar": [100, 25, 4]}.items():
        np.testing.assert_allclose(bound(Y, Uncertainty(kind, values)).noise.std, [0.1, 0.2, 0.5])
    shared = bound(Y, Uncertainty("ivar", [0, 25, 4]))
    np.testing.assert_array_equal(shared.observed, np.tile([False, True, True], (N, 1)))
    assert "got an array of objects" in fault(np.full((N, D), Uncertainty("other", [1])))


def test_masked_noise_was_not_measured():
    found = bound(Y, PerSample(np.ma.array(np.full((N, D), 0.1), mask=MASK)))
    np.testing.assert_array_equal(found.observed, ~MASK)
    shared = bound(Y, np.ma.array([0.1, 0.0, 0.1], mask=[False, True, False]))
    np.testing.assert_array_equal(shared.observed, np.tile([True, False, True], (N, 1)))


def test_masks_where_they_mean_nothing_are_refused():
    masked = np.ma.array(np.ones(D), mask=[True, False, False])
    assert "a unit or a mask" in fault(Y, mixing=Mask(masked))
    assert "masked" in fault(Y, mixing=PerSample(np.ma.array(np.ones(N), mask=np.arange(N) == 2)))


def test_axes_in_another_order_are_refused():
    y = DataArray(np.zeros((N, D)) + Y, ("time", "band"))
    bound(y, DataArray(np.full(D, 0.1), ("band",)))
    bound(y, PerSample(DataArray(np.full(N, 0.1), ("time",))))
    bound(y, PerSample(DataArray(np.full((N, D), 0.1), ("time", "band"))))
    assert "the axes are pixel, but those of y time x band" in fault(y, DataArray(np.full(D, 0.1), ("pixel",)))
    assert "the unit s, " in fault(DataArray(Y, ("t", "b"), "mJy"), DataArray(np.full(D, 0.1), ("b",), "s"))
    square = DataArray(np.ones((D, D)), ("time", "band"))
    assert "bring them into the same order" in fault(square, PerSample(DataArray(np.ones((D, D)), ("band", "time"))))


def test_columns_in_another_order_are_refused():
    y = DataFrame(Y, ["r", "g", "b"])
    np.testing.assert_array_equal(bound(y, PerSample(DataFrame(np.full((N, D), 0.1), ["r", "g", "b"]))).y, Y)
    assert "bring them into the same order" in fault(y, PerSample(DataFrame(np.full((N, D), 0.1), ["g", "r", "b"])))


@pytest.mark.parametrize("offset", [0, 2**24 + 1, 2**31 - 50, 2**53 - 60])
def test_whole_numbers_keep_their_digits(offset):
    y = np.arange(N * D).reshape(N, D) + offset
    view = View(y, {"a": 1.0}, 0.1)
    np.testing.assert_array_equal(view.y.astype(np.int64), y)
    assert view.y.dtype == (np.float32 if offset == 0 else np.float64)


class Pint:
    """As pint's, whose unit stands under another name, and does not convert by itself."""

    def __init__(self, magnitude, units):
        self.magnitude, self.units = magnitude, units

    def to(self, other):
        return Pint(self.magnitude * (_SIZES[self.units.name] / _SIZES[other.name]), other)


class PintUnit:
    def __init__(self, name):
        self.name = name

    __str__ = Unit.__str__

    def __pow__(self, power):
        assert power == 1
        return self

    def __rmul__(self, number):
        return Pint(number, self)


class Column(np.ndarray):
    unit = None


def test_quantities_of_other_packages():
    y = Pint(Y, PintUnit("mJy"))
    np.testing.assert_array_equal(bound(y).y, Y)
    np.testing.assert_allclose(bound(y, Pint(2e-4, PintUnit("Jy"))).noise.std, 0.2)
    assert "the unit Jy, but y has none" in fault(Y, Pint(2e-4, PintUnit("Jy")))
    column = Y.view(Column)
    column.unit = Unit("mJy")
    np.testing.assert_allclose(bound(column, Quantity(2e-4, "Jy")).noise.std, 0.2)
    inside = DataArray(Y, ("time", "band"))
    inside.data = y
    np.testing.assert_allclose(bound(inside, Pint(2e-4, PintUnit("Jy"))).noise.std, 0.2)


def test_columns_that_may_be_absent():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(Y, columns=list("rgb")).astype("Float64")
    table.iloc[1, 2] = pandas.NA
    assert (~bound(table).observed).sum() == 1
    whole = pandas.DataFrame(np.arange(N * D).reshape(N, D), columns=list("rgb")).astype("Int64")
    np.testing.assert_array_equal(bound(whole).y, whole.to_numpy(float))
    assert "expected numbers" in fault(whole.astype(str))


def test_noise_of_one_observation_is_labelled_as_one():
    """Its labels stand beside those of an observation, not beside those of the rows, which are merely counted."""
    pandas = pytest.importorskip("pandas")
    y = pandas.DataFrame(Y, columns=list("rgb"))
    np.testing.assert_allclose(bound(y, pandas.Series([0.1, 0.2, 0.3], list("rgb"))).noise.std, [0.1, 0.2, 0.3])
    assert "bring them into the same order" in fault(y, pandas.Series([0.1, 0.2, 0.3], list("bgr")))
    deep = pandas.DataFrame(Y, pandas.MultiIndex.from_arrays([[0, 0, 1, 1, 2], [0, 1, 0, 1, 0]]))
    assert list(bound(deep).labels.ids[:2]) == ["(0, 0)", "(0, 1)"]


def test_packed_arrays_are_unpacked():
    plain = bound(np.where(MASK, np.nan, np.round(Y, 2)))
    packed = DataArray(np.where(MASK, -999, np.round(100 * Y)).astype(np.int16), ("time", "band"), "mJy")
    packed.attrs |= {"_FillValue": np.int16(-999), "scale_factor": 0.01}
    found = bound(packed)
    np.testing.assert_array_equal(found.observed, plain.observed)
    np.testing.assert_allclose(found.y, plain.y, atol=1e-12)
    assert found.labels.unit == "mJy"
    packed.attrs["missing_value"] = "none"
    assert "'missing_value' says how to read the numbers, and is none" in fault(packed)


def test_amplitudes_in_another_order_are_refused():
    pandas = pytest.importorskip("pandas")
    days = [f"day {i}" for i in range(N)]
    y, gains = pandas.DataFrame(Y, days), pandas.Series(np.arange(1.0, N + 1), days)
    bound(y, mixing=PerSample(gains))
    assert "source 'a': the axes are day 4, day 3" in fault(y, mixing=PerSample(gains[::-1]))
