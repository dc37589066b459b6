"""Every adapter reads a file that the field's own library wrote; what it cannot keep it refuses."""

import json
import sys
import warnings

import h5py
import numpy as np
import pytest

from dichroic.formats import READERS
from dichroic.operators import PerSample
from dichroic.problem import ProblemError, load_problem, save_problem
from dichroic.problem.arrays import ArrayReader

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 5)).astype(np.float32)


@pytest.fixture
def arrays(tmp_path):
    return ArrayReader(tmp_path)


def fault(call):
    with pytest.raises(ProblemError) as caught:
        call()
    return str(caught.value)


# ---- FITS


@pytest.fixture
def cuts(tmp_path):
    from astropy.io import fits

    (tmp_path / "cut").mkdir()
    for i, image in enumerate(IMAGES):
        science = fits.ImageHDU(image, name="SCI")
        science.header["BUNIT"] = "mJy"
        science.header["CRVAL1"] = 150.0 + i
        flags = np.zeros((4, 5), np.int16)
        flags[0, i], flags[1, i], flags[2, i] = 1, 2, 16 + 4
        weight = fits.ImageHDU(np.full((4, 5), 4.0 + i), name="WHT")
        weight.header["BUNIT"] = "Jy-2"
        fits.HDUList([fits.PrimaryHDU(), science, weight, fits.ImageHDU(flags, name="DQ")]).writeto(
            tmp_path / f"cut/g{i}.fits"
        )
    return tmp_path


TEXT = """
[sources.galaxy]
shape = [4, 5]
[views.v]
y = { files = "cut/*.fits", hdu = "SCI" }
noise = { weight = { hdu = "WHT" } }
observed = { bad = { hdu = "DQ" }, bits = [0, 4] }
mixing.galaxy = 1.0
"""


def test_lists_of_fits_files(cuts):
    (cuts / "problem.toml").write_text(TEXT)
    view = load_problem(cuts).problem.views["v"]
    bad = np.zeros((3, 4, 5), bool)
    bad[[0, 1, 2], 0, [0, 1, 2]] = bad[[0, 1, 2], 2, [0, 1, 2]] = True
    np.testing.assert_array_equal(view.observed, ~bad)
    np.testing.assert_array_equal(view.y[~bad], IMAGES[~bad])
    assert isinstance(view.noise, PerSample)
    std = np.asarray(view.noise.value.std)
    np.testing.assert_allclose(std[~bad].reshape(3, -1)[:, 0], 1e3 / np.sqrt([4, 5, 6]))  # from 1/Jy^2, in mJy
    assert view.labels.unit == "mJy"
    assert list(view.labels.ids) == ["g0", "g1", "g2"]
    assert "CRVAL1  =                151.0" in view.labels.columns["header"][1]
    kept = view.select(np.array([2, 0]))
    assert list(kept.labels.ids) == ["g2", "g0"]
    assert "152.0" in kept.labels.columns["header"][0]


def test_hdus_as_channels(cuts):
    text = TEXT.replace('"SCI"', '["SCI"]').replace('"WHT"', '["WHT"]').replace('"DQ"', '["DQ"]')
    (cuts / "problem.toml").write_text(text.replace("[4, 5]", "[4, 5, 1]"))
    view = load_problem(cuts).problem.views["v"]
    assert view.y.shape == np.shape(view.noise.value.std) == (3, 4, 5, 1)
    assert (~view.observed).sum() == 6


def test_labels_survive_a_saved_problem(cuts, tmp_path):
    (cuts / "problem.toml").write_text(TEXT + 'axes = [{ name = "dec", step = 0.2, unit = "arcsec" }]\n')
    text = (cuts / "problem.toml").read_text().replace("mixing.galaxy = 1.0\naxes", "axes")
    (cuts / "problem.toml").write_text(text + "mixing.galaxy = 1.0\n")
    problem = load_problem(cuts).problem
    again = load_problem(save_problem(problem, tmp_path / "saved")).problem
    labels = again.views["v"].labels
    assert list(labels.ids) == ["g0", "g1", "g2"]
    assert labels.unit == "mJy"
    assert labels.axes[0].coordinates(3).tolist() == [0.0, 0.2, 0.4]
    assert again.fingerprint() == problem.fingerprint()


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("cut/g0.fits:1", (4, 5)),
        ("cut/g0.fits:sci", (4, 5)),
        ({"file": "cut/g0.fits"}, (4, 5)),
        ({"files": "cut/*.fits", "hdu": ["SCI", "SCI"]}, (3, 4, 5, 2)),
    ],
)
def test_hdus(cuts, spec, shape):
    assert ArrayReader(cuts).read(spec).shape == shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('hdu = "SCI"', 'hdu = "SCY"'), r"no 'SCY' in 'g0.fits'; keys there: .*did you mean 'SCI'"),
        (('hdu = "SCI"', 'hdu = "PRIMARY"'), "holds no image; HDUs there: 'PRIMARY', 'SCI'"),
        (('hdu = "SCI"', 'hud = "SCI"'), r"unknown key 'hud' beside the file; known: 'hdu'.*did you mean 'hdu'\?"),
        (("cut/*.fits", "cat/*.fits"), "no files match"),
        (('"WHT"', '"SCI"'), r"have the unit mJy, which does not convert to \(mJy\)\^-2"),
        (("bits = [0, 4]", "flags = [3]"), r"flags: expected powers of two"),
        (("bits = [0, 4]", "bits = [4096]"), r"bits: numbers of bits are 0 to 62"),
        (("bits = [0, 4]", "bit = [4]"), r"unknown key 'bit'.*did you mean 'bits'"),
        (('"DQ"', '"SCI"'), r"observed: bad: expected whole numbers"),
    ],
)
def test_faults_in_fits(cuts, change, message):
    (cuts / "problem.toml").write_text(TEXT.replace(*change))
    with pytest.raises(ProblemError, match=message):
        load_problem(cuts)


def test_files_of_several_shapes_are_refused(cuts):
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((4, 6))).writeto(cuts / "cut/h.fits")
    arrays = ArrayReader(cuts)
    assert "'h.fits' has the shape (4, 6), 'g0.fits' (4, 5)" in fault(lambda: arrays.read({"files": "cut/*.fits"}))


# ---- annotated matrices


@pytest.fixture
def cells(tmp_path):
    import anndata
    import pandas
    from scipy import sparse

    x = RNG.poisson(1.0, (6, 4)).astype(np.float32)
    obs = pandas.DataFrame(
        {"condition": pandas.Categorical(["case", "control"] * 3), "depth": np.arange(6.0)}, [f"c{i}" for i in range(6)]
    )
    data = anndata.AnnData(sparse.csr_matrix(x), obs, pandas.DataFrame({"mt": [0, 0, 1, 0]}, ["A", "B", "C", "D"]))
    data.layers["log"] = np.log1p(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.write_h5ad(tmp_path / "cells.h5ad")
    return x


def test_cells(cells, arrays):
    found = arrays.open({"file": "cells.h5ad", "obs": "condition == 'case' and depth > 1"})
    np.testing.assert_array_equal(found.values, cells[[2, 4]])
    labels = found.labels()
    assert list(labels.ids) == ["c2", "c4"]
    assert list(labels.axes[0].labels) == ["A", "B", "C", "D"]
    assert list(labels.columns["condition"]) == ["case", "case"]
    log = {"file": "cells.h5ad", "layer": "log", "obs": {"condition": ["control"]}, "genes": ["D", "A"]}
    np.testing.assert_allclose(arrays.read(log), np.log1p(cells[1::2][:, [3, 0]]))
    np.testing.assert_allclose(arrays.read("cells.h5ad:log"), np.log1p(cells))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "lug"}, r"no 'lug' in 'cells.h5ad'; keys there: 'log'; did you mean 'log'"),
        ({"obs": "cond == 'case'"}, r"obs: no column 'cond'; there are: 'condition', 'depth'"),
        ({"obs": "condition == 'x'"}, r"none of 6 rows is left"),
        ({"obs": "__import__('os').system('true')"}, r"expected clauses"),
        ({"obs": "depth == __import__('os').getpid()"}, r"expected clauses"),
        ({"obs": "depth == 'deep'"}, r"none of 6 rows"),
        ({"obs": "condition > 'a'"}, r"text is equal or not"),
        ({"genes": ["E"]}, r"no 'E' in 'cells.h5ad'"),
    ],
)
def test_faults_in_cells(cells, arrays, options, message):
    with pytest.raises(ProblemError, match=message):
        arrays.read({"file": "cells.h5ad", **options})


# ---- sound, records, radio


def test_sound(arrays, tmp_path):
    import soundfile

    x = RNG.uniform(-1, 1, (80, 2)).astype(np.float32)
    soundfile.write(tmp_path / "two.wav", x, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "one.flac", x[:, 0], 8000)
    found = arrays.open("two.wav:1")
    np.testing.assert_array_equal(found.values, x[:, 1])
    assert (found.axes[0].name, found.axes[0].step, found.axes[0].unit) == ("time", 1 / 8000, "s")
    np.testing.assert_allclose(arrays.read({"file": "two.wav", "channel": "mean"}), x.mean(1), rtol=1e-6)
    assert arrays.read({"file": "two.wav", "channel": [0, 1]}).shape == (80, 1, 2)
    np.testing.assert_allclose(arrays.read("one.flac"), x[:, 0], atol=1 / 32000)
    assert "2 channels; say which" in fault(lambda: arrays.read("two.wav"))
    assert "numbered from 0; got channel = 2" in fault(lambda: arrays.read({"file": "two.wav", "channel": 2}))


@pytest.fixture
def obspy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("obspy")


def test_seismic_records(arrays, tmp_path, obspy):
    x = RNG.normal(size=100)
    head = {"network": "XX", "station": "A", "channel": "BHZ", "sampling_rate": 20.0}
    parts = [obspy.Trace(x[:40], head), obspy.Trace(x[50:], {**head, "starttime": obspy.UTCDateTime(2.5)})]
    other = obspy.Trace(x, {**head, "channel": "BHN"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        obspy.Stream([*parts, other]).write(str(tmp_path / "a.mseed"), format="MSEED")
        found = arrays.open("a.mseed:BHZ")
        message = fault(lambda: arrays.read("a.mseed"))
    np.testing.assert_array_equal(np.flatnonzero(found.mask), np.arange(40, 50))
    np.testing.assert_array_equal(found.values[~found.mask], x[~found.mask])
    assert found.axes[0].step == 0.05
    assert found.shared["station"] == "A"
    assert "several channels, 'XX.A..BHN', 'XX.A..BHZ'" in message or "several channels" in message


def test_radio_recordings(arrays, tmp_path):
    import sigmf

    x = (RNG.normal(size=(2, 64)) @ np.eye(64)).astype(np.float32)
    x = (x[0] + 1j * x[1]).astype(np.complex64)
    x.tofile(tmp_path / "r.sigmf-data")
    meta = sigmf.SigMFFile(global_info={"core:datatype": "cf32_le", "core:sample_rate": 2e6, "core:version": "1.2.0"})
    meta.add_capture(0, {"core:frequency": 915e6})
    (tmp_path / "r.sigmf-meta").write_text(meta.dumps())
    found = arrays.open("r.sigmf-meta")
    np.testing.assert_array_equal(found.values, x)
    assert found.axes[0].step == 5e-7
    assert found.shared["frequency"] == 915e6
    (tmp_path / "r.sigmf-data").unlink()
    assert "needs 'r.sigmf-data' beside it" in fault(lambda: ArrayReader(tmp_path).read("r.sigmf-meta"))


# ---- pictures and grids


def test_ome_tiff(arrays, tmp_path):
    import tifffile

    x = RNG.integers(0, 99, (2, 4, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", x, metadata={"axes": "CYX"})
    found = arrays.open("a.ome.tif")
    np.testing.assert_array_equal(found.values, np.moveaxis(x, 0, -1))
    assert [axis.name for axis in found.axes] == ["y", "x", "channel"]
    assert "has 1 series" in fault(lambda: arrays.read("a.ome.tif:3"))


def test_netcdf(arrays, tmp_path):
    import xarray

    y = RNG.normal(size=(6, 3))
    y[2, 1] = np.nan
    coords = {"band": ["r", "g", "b"], "time": ("time", np.arange(6) / 2, {"units": "s"})}
    data = xarray.DataArray(y, dims=("time", "band"), coords=coords, name="flux", attrs={"units": "Jy"})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = arrays.open("a.nc")
    np.testing.assert_array_equal(found.values, y)
    assert found.unit == "Jy"
    assert list(found.axes[1].labels) == ["r", "g", "b"]
    assert found.axes[0].unit == "s"
    assert arrays.read({"file": "a.nc", "dims": ["band", "time"]}).shape == (3, 6)
    assert "dims: expected ['time', 'band']" in fault(lambda: arrays.read({"file": "a.nc", "dims": ["band", "x"]}))
    assert "no 'flix' in 'a.nc'; keys there: 'flux'" in fault(lambda: arrays.read("a.nc:flix"))


# ---- strangers


def test_what_a_file_declares_is_not_believed(arrays, tmp_path):
    with h5py.File(tmp_path / "huge.nc", "w") as file:
        file.create_dataset("x", (1 << 17, 1 << 17), "f8", chunks=(1 << 10, 1 << 10))
    assert "declares" in fault(lambda: arrays.read({"file": "huge.nc", "variable": "x"}))
    card = lambda text: text.ljust(80).encode()  # noqa: E731
    head = [card(f"{k:8}= {v:>20}") for k, v in [("SIMPLE", "T"), ("BITPIX", -64), ("NAXIS", 1), ("NAXIS1", 10**10)]]
    (tmp_path / "huge.fits").write_bytes(b"".join([*head, card("END")]).ljust(2880))
    assert "huge.fits" in fault(lambda: arrays.read("huge.fits"))
    with h5py.File(tmp_path / "huge.h5ad", "w") as file:
        import pandas
        from anndata.io import write_elem
        from scipy import sparse

        for part in ("obs", "var"):
            write_elem(file, part, pandas.DataFrame(index=["a", "b"]))
        write_elem(file, "X", sparse.csr_matrix((2, 2)))
        file["X"].attrs["shape"] = np.array([1 << 20, 1 << 20])
    assert "huge.h5ad" in fault(lambda: arrays.read("huge.h5ad"))
    (tmp_path / "bad.sigmf-meta").write_text(json.dumps({"global": {}}))
    (tmp_path / "bad.sigmf-data").write_bytes(b"123")
    for name in ("wav", "mseed", "tif", "nc", "h5ad", "fits"):
        (tmp_path / f"bad.{name}").write_bytes(b"nothing of the kind")
    for name in ("wav", "mseed", "tif", "nc", "h5ad", "fits", "sigmf-meta"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert f"'bad.{name}' cannot be read as {name}" in fault(lambda name=name: arrays.read(f"bad.{name}"))


def test_a_pickle_in_the_guise_of_a_record_does_not_run(arrays, tmp_path, obspy):
    import pickle

    class Run:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.mseed").write_bytes(pickle.dumps(Run()))
    fault(lambda: arrays.read("evil.mseed"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.library])
def test_a_library_that_is_absent_is_named(name, arrays, tmp_path, monkeypatch):
    module, package = READERS[name].library
    monkeypatch.setitem(sys.modules, module, None)
    suffix = READERS[name].suffixes[0]
    for end in {suffix, "sigmf-data" if name == "sigmf" else suffix}:
        with h5py.File(tmp_path / f"a.{end}", "w"):
            pass
    assert fault(lambda: arrays.read(f"a.{suffix}")) == f"reading 'a.{suffix}' needs {package}: pip install {package}"


# ---- what attributes say of numbers


def test_fill_values_packing_and_units_are_honoured(arrays, tmp_path):
    """Of every kind of file that can state them, in the words of NetCDF's conventions or of GDAL."""
    import tifffile
    import xarray
    import zarr

    x = np.round(IMAGES[0].astype(float), 1)
    missing = np.zeros(x.shape, bool)
    missing[1, 2] = True
    packed = np.where(missing, -999, np.round(10 * x)).astype(np.int16)
    said = {"_FillValue": np.int16(-999), "scale_factor": 0.1, "units": "mJy"}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=packed).attrs.update(said)
    for number in (2, 3):
        store = zarr.open_group(tmp_path / f"a{number}.zarr", mode="w", zarr_format=number)
        made = store.create_array("x", data=packed)
        made.attrs.update({**said, "_FillValue": -999})
    data = xarray.Dataset({"x": (("row", "column"), np.where(missing, np.nan, x), {"units": "mJy"})})
    own = {"x": {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -999}}
    data.to_netcdf(tmp_path / "a.nc", encoding=own)
    data.to_zarr(tmp_path / "b.zarr", encoding={"x": {"_FillValue": -999.0}}, zarr_format=3, consolidated=False)
    data.to_zarr(tmp_path / "c.zarr", encoding=own, zarr_format=2, consolidated=False)
    tifffile.imwrite(tmp_path / "a.tif", packed, extratags=[(42113, "s", 0, "-999", True)])
    for name in ("a.h5:x", "a2.zarr:x", "a3.zarr:x", "a.nc:x", "b.zarr:x", "c.zarr:x", "a.tif"):
        found = arrays.open(name)
        np.testing.assert_array_equal(np.isnan(found.values), missing)
        np.testing.assert_allclose(found.values[~missing] / (10 if name == "a.tif" else 1), x[~missing], atol=1e-6)
        assert found.unit == (None if name == "a.tif" else "mJy")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["x"].attrs["_FillValue"] = "none"
    found = fault(lambda: ArrayReader(tmp_path).open("a.h5:x"))
    assert "'a.h5:x': the attribute '_FillValue' says how to read the numbers, and is none" in found
