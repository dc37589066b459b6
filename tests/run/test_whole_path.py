"""From check to report on problems stated in other ways: what comes out is that of the plain one, up to its units.

Drawn at random are the unit of the data, the names of sources and views, what holds the data, and observations that
say nothing or what cannot be.
"""

import h5py
import numpy as np
import pandas
import pytest
import tomli_w
import xarray
import zarr
from astropy import units
from astropy.io import fits
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dichroic import Problem, Source, View, fit, load_problem
from dichroic.design import check_data, check_design
from dichroic.diagnose import Budget
from dichroic.problem import ProblemError
from dichroic.report import report
from dichroic.run import diagnose
from run_cases import tiny_arrays, tiny_config

pytestmark = [
    pytest.mark.usefixtures("as_for_users"),
    pytest.mark.filterwarnings("ignore:.*far outside their source"),  # those of observations that cannot be
]
N = 48
BUDGET = Budget(observations=12, prior=64, replicates=2)
CHECKS = ("replay", "chi_square")
PLAIN = ("sky", "star", "empty", "both")
DULL = {"zero": 0.0, "half": (1.0, np.nan), "far": (1e3, -1e3)}


def observations(dull: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Those of the tiny problem; the first ones are as told."""
    y = {v: np.asarray(tiny_arrays(N)[v], np.float32) for v in ("empty", "both")}
    for i, kind in enumerate(dull):
        y["both"][i] = DULL[kind]
    return y


def in_memory(hold):
    def load(folder, y, names, noise):
        sky, star, empty, both = names
        views = {
            empty: View(hold(y["empty"]), {sky: 1.0}, noise),
            both: View(hold(y["both"]), {sky: 1.0, star: 0.5}, noise),
        }
        return Problem({sky: Source((2,)), star: Source((2,))}, views, "Tiny")

    return load


def in_file(write):
    def load(folder, y, names, noise):
        sky, star, empty, both = names
        where = {v: write(folder, v, x) for v, x in y.items()}
        stated = {
            "title": "Tiny",
            "sources": {sky: {"shape": [2]}, star: {"shape": [2]}},
            "views": {
                empty: {"y": where["empty"], "noise": noise, "mixing": {sky: 1.0}},
                both: {"y": where["both"], "noise": noise, "mixing": {sky: 1.0, star: 0.5}},
            },
        }
        (folder / "problem.toml").write_text(tomli_w.dumps(stated), encoding="utf8")
        return load_problem(folder / "problem.toml").problem

    return load


def npy(folder, name, x):
    np.save(folder / f"{name}.npy", x)
    return f"{name}.npy"


def npz(folder, name, x):
    np.savez_compressed(folder / f"{name}.npz", other=x + 1, y=x)
    return f"{name}.npz:y"


def hdf5(folder, name, x):
    with h5py.File(folder / "all.h5", "a") as file:
        file.create_dataset(f"deep/{name}", data=x, compression="gzip", chunks=(7, 2))
    return f"all.h5:deep/{name}"


def zarr_array(folder, name, x):
    zarr.open_group(folder / "all.zarr", mode="a").create_array(name, data=x, chunks=(7, 1))
    return f"all.zarr:{name}"


def labelled(x):
    return xarray.DataArray(np.where(np.isnan(x), -9e20, x), dims=("time", "band"), attrs={"_FillValue": -9e20})


def netcdf(folder, name, x):
    xarray.Dataset({"y": (("time", "band"), x, {"units": "counts [/s]"})}).to_netcdf(folder / f"{name}.nc")
    return f"{name}.nc:y"


def fits_image(folder, name, x):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(x, name="SCI")]).writeto(folder / f"{name}.fits")
    return f"{name}.fits:SCI"


HOLDERS = {
    "array": in_memory(np.asarray),
    "list": in_memory(np.ndarray.tolist),
    "double": in_memory(np.float64),
    "columns first": in_memory(np.asfortranarray),
    "big-endian": in_memory(lambda x: x.astype(">f4")),
    "every second": in_memory(lambda x: np.repeat(x, 2, axis=0)[::2]),
    "read-only": in_memory(lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape)),
    "masked": in_memory(lambda x: np.ma.masked_invalid(x)),
    "rows that are masked": in_memory(lambda x: [np.ma.masked_invalid(row) for row in x]),
    "quantity": in_memory(lambda x: x * units.Jy),
    "frame": in_memory(lambda x: pandas.DataFrame(x, [f"[{i}]" for i in range(len(x))], ["a", "b"])),
    "labelled": in_memory(labelled),
    "npy": in_file(npy),
    "npz": in_file(npz),
    "hdf5": in_file(hdf5),
    "zarr": in_file(zarr_array),
    "netcdf": in_file(netcdf),
    "fits": in_file(fits_image),
}
NAMES = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1, max_size=40)
    | st.sampled_from(["dust (a)", "dust [a]", "...", "a:b", "CON", "<b>x", "é", "{{ x }}", "%s", "x" * 300]),
    min_size=4,
    max_size=4,
    unique=True,
)


def walk(folder, load, y, names, unit) -> dict[str, np.ndarray]:
    """The whole path; what comes out of it, without units."""
    sky, star, _, both = names
    folder.mkdir()
    problem = load(folder, {v: x * np.float32(unit) for v, x in y.items()}, names, 0.1 * unit)
    found = {"codes": np.array([f.code for f in [*check_data(problem), *check_design(problem).findings()]])}
    run = fit(problem, tiny_config(laps=1), out=folder / "run")
    separation = run.separate(problem, draws=2)
    diagnosis = diagnose(run, budget=BUDGET, checks=CHECKS)
    for plain, s in zip(PLAIN, (sky, star), strict=False):
        population = run.gaussian.populations[s]
        found[f"{plain}: mean"] = population.mean / unit
        found[f"{plain}: covariance"] = population.covariance() / unit / unit
        found[f"{plain}: separated"] = separation.mean(both, s) / unit
        found[f"{plain}: of the prior"] = run.sample(s, 8, steps=4) / unit
    # which draws a check looks at depends on the names, so that its values do
    found["asked"] = np.array([f"{c}: {np.isfinite(q.value)}" for c in CHECKS for q in diagnosis.results[c].parts])
    page = report(run).read_text(encoding="utf8")
    assert page.rstrip().endswith("</html>")
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Results of the plain problem by its first observations, each worked out once."""
    known = {}

    def of(dull: tuple[str, ...]):
        if dull not in known:
            folder = tmp_path_factory.mktemp("plain") / "x"
            known[dull] = walk(folder, HOLDERS["array"], observations(dull), PLAIN, 1.0)
        return known[dull]

    return of


def agree(found, expected):
    for what, values in expected.items():
        if values.dtype.kind == "U":
            np.testing.assert_array_equal(found[what], values, err_msg=what)
        else:
            scale = np.nanmax(np.abs(values))  # an observation without a usable draw has no mean
            np.testing.assert_allclose(found[what], values, rtol=0, atol=1e-3 * scale, err_msg=what)


def agrees(plain, folder, holder, names, unit, dull):
    # draws follow the order of names in the alphabet: here it is that of the plain ones
    names = [*sorted(names[:2]), *names[2:]]
    agree(walk(folder / "x", HOLDERS[holder], observations(dull), names, unit), plain(dull))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("holder", "names", "unit", "dull"),
    [("hdf5", ["dust [a]", "dust (a)", "<b>{{ x }}", ".." * 90], 3.7e-17, ("half", "far"))],
)
def test_a_problem_stated_otherwise_gives_the_same(plain, tmp_path, holder, names, unit, dull):
    agrees(plain, tmp_path, holder, names, unit, dull)


def test_observations_without_data_are_refused():
    empty = observations()["both"]
    empty[3] = np.nan
    with pytest.raises(ProblemError, match="sample 3 has no observed entry at all; remove them"):
        Problem({"sky": Source((2,))}, {"both": View(empty, {"sky": 1.0}, 0.1)})


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_any_problem_stated_otherwise_gives_the_same(plain, tmp_path_factory, part):
    """Ten problems each."""

    @seed(part)
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        holder=st.sampled_from(list(HOLDERS)),
        names=NAMES,
        unit=st.floats(-20, 20).map(lambda x: float(10**x)),
        dull=st.lists(st.sampled_from(list(DULL)), max_size=2).map(tuple),
    )
    def same(holder, names, unit, dull):
        print(f"{holder}, {unit:.3g}, {dull}, {names}", flush=True)
        agrees(plain, tmp_path_factory.mktemp("other"), holder, names, unit, dull)

    same()
