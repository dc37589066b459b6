"""Results come back in the form of the data: read again by the field's own library, with headers, names and units."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from dichroic.formats import Axis, Labels, Windows
from dichroic.problem import Problem, Source, View, load_problem
from dichroic.run import RunError, Separation, export
from dichroic.run.export import check_form
from dichroic.run.labels import describe_labels, read_labels
from dichroic.run.separation_writer import SeparationWriter

RNG = np.random.default_rng(0)


def separation(shape, n=2, draws=3, labels=None, sources=("star",), unit="mJy") -> Separation:
    x = {s: RNG.normal(size=(n, draws, *shape)).astype(np.float32) for s in sources}
    means = {s: a.mean(1) for s, a in x.items()}
    return Separation(
        {"v": x},
        {"v": np.ones((n, draws), np.float32)},
        {"v": np.zeros((n, draws), bool)},
        1,
        means={"v": means},
        appearances={"v": {s: 0.5 * m for s, m in means.items()}},
        labels={} if labels is None else {"v": labels},
        units=dict.fromkeys(sources, unit),
    )


def test_fits_files_come_back_under_their_headers(tmp_path):
    from astropy.io import fits
    from astropy.wcs import WCS

    for i in range(2):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [10.0 + i, 5.0], [-1e-4, 1e-4]
        header = wcs.to_header()
        header["BUNIT"], header["OBSERVER"] = "mJy", f"nobody {i}"
        fits.PrimaryHDU(RNG.normal(size=(4, 5)).astype(np.float32), header).writeto(tmp_path / f"g{i}.fits")
    (tmp_path / "p.toml").write_text(
        '[sources.star]\nshape = [4, 5]\n[views.v]\ny = { files = "g*.fits" }\nnoise = 0.1\nmixing.star = 1.0\n'
    )
    problem = load_problem(tmp_path / "p.toml").problem
    found = separation((4, 5), unit="")
    check_form(tmp_path / "out.fits", problem)
    files, lost = export(found, tmp_path / "out.fits", problem)
    assert (files, lost) == ([tmp_path / "out.fits"], "")
    with fits.open(tmp_path / "out.fits") as units:
        for i in range(2):
            unit = units["v/star/mean", i + 1]
            np.testing.assert_array_equal(unit.data, found.mean("v", "star")[i])
            assert unit.header["BUNIT"] == "mJy"
            assert unit.header["OBSERVER"] == f"nobody {i}"
            assert unit.header["dichroic observation"] == f"g{i}"
            np.testing.assert_allclose(WCS(unit.header).wcs.crval, [10.0 + i, 5.0])
            assert units["v/star/draws", i + 1].data.shape == (3, 4, 5)
            np.testing.assert_array_equal(units["v/star/seen", i + 1].data, found.seen("v", "star")[i])
    with pytest.raises(RunError, match="is there already"):
        export(found, tmp_path / "out.fits", problem)


def test_cells_and_genes_keep_their_names(tmp_path):
    import anndata

    labels = Labels(
        ids=np.asarray(["c0", "c1"]),
        axes=(Axis("gene", np.asarray(["A", "B", "C"])),),
        columns={"condition": np.asarray(["case", "control"])},
        shared={"var": {"mt": np.asarray([0, 1, 0])}},
    )
    found = separation((3,), labels=labels)
    _, lost = export(found, tmp_path / "out.h5ad")
    assert lost == "single draws"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(data.obs_names) == ["c0", "c1"] and list(data.var_names) == ["A", "B", "C"]
    assert list(data.obs["condition"]) == ["case", "control"] and list(data.var["mt"]) == [0, 1, 0]
    np.testing.assert_array_equal(data.layers["star"], found.mean("v", "star"))
    np.testing.assert_array_equal(data.layers["star_seen"], found.seen("v", "star"))
    images = Problem({"s": Source((4, 4))}, {"v": View(np.ones((2, 4, 4)), {"s": 1.0}, 0.1)})
    with pytest.raises(RunError, match="holds cells of the same genes"):
        check_form(tmp_path / "no.h5ad", images)


def test_sound_comes_back_as_sound(tmp_path):
    import soundfile

    found = separation((64,), n=1, labels=Labels(axes=(Axis("time", step=1 / 8000, unit="s"),)), sources=("a", "b"))
    files, lost = export(found, tmp_path / "out.wav")
    assert [file.name for file in files] == ["out.a.wav", "out.b.wav"] and "draws" in lost
    x, rate = soundfile.read(files[1], dtype="float32")
    np.testing.assert_array_equal(x, found.mean("v", "b")[0])
    assert rate == 8000
    with pytest.raises(RunError, match="has no sampling rate"):
        export(separation((64,)), tmp_path / "none.wav")


def test_data_sets_of_xarray(tmp_path):
    import xarray

    labels = Labels("counts", np.asarray(["p", "q"]), (Axis("band", np.asarray(["r", "g", "b"])),))
    found = separation((3,), labels=labels)
    data = found.to_xarray()
    assert data["star"].dims == ("chain", "draw", "observation", "band")
    assert list(data["band"].values) == ["r", "g", "b"] and list(data["observation"].values) == ["p", "q"]
    assert data["star"].attrs["units"] == "mJy" and data["star_seen"].attrs["units"] == "counts"
    np.testing.assert_array_equal(data["star_mean"].sel(band="g"), found.mean("v", "star")[:, 1])
    assert export(found, tmp_path / "out.nc")[1] == ""
    with xarray.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as again:
        np.testing.assert_array_equal(again["star"].values, data["star"].values)
        assert list(again["band"].values) == ["r", "g", "b"]


def test_labels_are_kept_beside_a_separation():
    windows = Windows.over([(10,), (7,)], (4,), (3,))
    ids = np.asarray([f"w{i}" for i in range(len(windows))])
    records = Labels("Pa", np.asarray(["a", "b"]), (Axis("time", step=0.5, unit="s"),))
    labels = Labels("Pa", ids, (Axis("time", step=0.5, unit="s"),), windows=windows, records=records)
    again = read_labels(describe_labels(labels))
    assert list(again.ids) == list(ids) and again.unit == "Pa" and again.axes == labels.axes
    assert again.windows.whole and again.windows.shapes == ((10,), (7,))
    np.testing.assert_array_equal(again.windows.start, windows.start)
    assert not again.select(np.arange(2)).windows.whole


def test_records_and_images_come_back_in_the_form_of_their_field(tmp_path):
    obspy, tifffile = pytest.importorskip("obspy"), pytest.importorskip("tifffile")
    said = {"network": "IU", "station": "ANMO", "channel": "BHZ", "starttime": "2026-01-01T00:00:00.000000Z"}
    axis = Axis("time", step=0.05, unit="s")
    found = separation((40,), n=1, labels=Labels(axes=(axis,), shared=said, columns={"begin": np.asarray([20])}))
    (file,), lost = export(found, tmp_path / "out.mseed")
    assert file.name == "out.star.mseed" and "draws" in lost
    (trace,) = obspy.read(str(file))
    assert trace.id == "IU.ANMO..BHZ" and trace.stats.delta == 0.05
    assert trace.stats.starttime == obspy.UTCDateTime(2026, 1, 1) + 1.0
    np.testing.assert_array_equal(trace.data, found.mean("v", "star")[0])
    radio = separation(
        (40,), n=1, labels=Labels(axes=(Axis("time", step=1e-6, unit="s"),), shared={"frequency": 9.15e8})
    )
    waves = {"v": {"star": radio.samples["v"]["star"].astype(np.complex64) * 1j}}
    means = {"v": {"star": waves["v"]["star"].mean(1)}}
    export(replace(radio, samples=waves, means=means, appearances={}), tmp_path / "out.sigmf-data")
    table = 'y = { file = "out.star.sigmf-meta" }\nwindow = 40\nnoise = 0.1\nmixing.s = 1.0\n'
    (tmp_path / "p.toml").write_text('[sources.s]\nshape = [40]\ndtype = "complex"\n[views.v]\n' + table)
    view = load_problem(tmp_path / "p.toml").problem.views["v"]
    np.testing.assert_array_equal(view.y, means["v"]["star"])
    assert view.labels.records.shared["frequency"] == 9.15e8 and np.isclose(view.labels.axes[0].step, 1e-6)
    pictures = separation((6, 5), n=3)
    export(pictures, tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.star.tif"), pictures.mean("v", "star"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.star.std.tif"), pictures.std("v", "star"))
    with pytest.raises(RunError, match="holds series"):
        check_form(
            tmp_path / "no.mseed", Problem({"s": Source((4, 4))}, {"v": View(np.ones((2, 4, 4)), {"s": 1.0}, 0.1)})
        )


def test_xarray_opens_a_store_with_named_dimensions(tmp_path):
    xarray = pytest.importorskip("xarray")
    labels = Labels(unit="mV", axes=(Axis("time", step=0.5, unit="s"), Axis(), Axis("channel")))
    shapes = {"night 2": (2, {"star": (5, 1, 3)})}
    with SeparationWriter(tmp_path / "x.zarr", shapes, 4, labels={"night 2": labels}) as writer:
        writer.samples["night 2"]["star"][:] = x = RNG.normal(size=(2, 4, 5, 1, 3)).astype(np.float32)
        writer.chi_square["night 2"][:], writer.diverged["night 2"][:] = 1.0, False
        writer.average("night 2", {"star": x.mean(1)}, {}, {})
    (place,) = {path.parent.parent.parent for path in (tmp_path / "x.zarr").glob("*/samples/*/zarr.json")}
    data = xarray.open_zarr(place / "samples", consolidated=False)
    (name,) = data
    assert data[name].dims == ("observation", "draw", "time", "star_axis1", "channel")
    np.testing.assert_array_equal(data[name], x)
    named = Separation.open(tmp_path / "x.zarr").to_xarray()
    assert named["star"].dims[:3] == ("chain", "draw", "observation") and list(named.time) == [0, 0.5, 1, 1.5, 2]


@pytest.mark.slow  # arviz takes seconds to be imported
def test_arviz_summarises_draws(tmp_path):
    arviz = pytest.importorskip("arviz")
    labels = Labels(ids=np.asarray(["a", "b"]), axes=(Axis("gene", labels=np.asarray(["CD4", "CD8", "LYZ"])),))
    found = separation((3,), n=2, labels=labels)
    data = found.to_arviz()
    table = arviz.summary(data, kind="stats", round_to="none")
    assert list(table.index)[:2] == ["star[a, CD4]", "star[a, CD8]"]
    np.testing.assert_allclose(table["mean"].to_numpy().reshape(2, 3), found.draws("v", "star").mean(1), rtol=1e-5)
    assert data.sample_stats["diverging"].dims == ("chain", "draw", "observation")
    with pytest.raises(RunError, match="say which: 'v'"):
        found.to_arviz("w")
