"""Results come back in the form of the data: read again by the field's own library, with headers, names and units."""

import warnings

import numpy as np
import pytest

from dichroic.formats import Axis, Labels, Windows
from dichroic.problem import Problem, Source, View, load_problem
from dichroic.run import RunError, Separation, export, stitched
from dichroic.run.export import check_form
from dichroic.run.labels import describe_labels, read_labels

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


# ---- windows


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
    np.testing.assert_allclose(lag, 2 / 3, atol=0.06)


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


def test_windows_in_a_problem_file(tmp_path):
    record = RNG.normal(size=(2, 100)).astype(np.float32)
    np.savez(tmp_path / "d.npz", y=record, std=np.full((2, 100), 0.1) * np.arange(1, 3)[:, None], good=record < 2)
    text = """
[sources.s]
shape = [16]
[views.v]
y = "d.npz:y"
window = 16
hop = 8
rate = 50
noise = { std = "d.npz:std" }
observed = "d.npz:good"
mixing.s = 1.0
"""
    (tmp_path / "p.toml").write_text(text)
    problem = load_problem(tmp_path / "p.toml").problem
    view = problem.views["v"]
    assert view.y.shape == (24, 16)
    good = record < 2
    np.testing.assert_array_equal(view.y[1][view.observed[1]], record[0, 8:24][good[0, 8:24]])
    np.testing.assert_allclose(np.asarray(view.noise.value.std)[12:][view.observed[12:]], 0.2)
    assert view.labels.axes[0].step == 0.02 and view.labels.windows.whole
    assert list(view.labels.ids[:2]) == ["0@0", "0@8"]
    kept, held = problem.split(0.2)
    assert len(held.views["v"]) == 5 and len(kept.views["v"]) == 18  # one overlaps with those held out
    for old, new, message in [
        ("hop = 8", "hop = 17", "at most the window"),
        ("window = 16", "window = 101", "less than a window"),
        ("window = 16\n", "", "hop: there is no window"),
        ("rate = 50", "rate = 0", "rate: expected samples in a second"),
    ]:
        (tmp_path / "p.toml").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message):
            load_problem(tmp_path / "p.toml")
