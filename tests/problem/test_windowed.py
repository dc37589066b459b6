"""Windows in a problem file: data, noise and masks are cut alike, and none is on both sides of a split."""

import numpy as np
import pytest

from dichroic.operators import PerSample
from dichroic.problem import ProblemError, load_problem, windowed

RNG = np.random.default_rng(0)


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


def test_windows_from_python_are_those_of_a_problem_file():
    record = RNG.normal(size=(2, 100)).astype(np.float32)
    std, good, star = np.full((2, 100), 0.1) * np.arange(1, 3)[:, None], record < 2, RNG.normal(size=(2, 100))
    view = windowed(record, {"s": 1.0}, std, window=16, hop=8, rate=50, observed=good, truth={"s": star})
    assert view.y.shape == (24, 16) and isinstance(view.noise, PerSample)
    np.testing.assert_array_equal(view.observed[1], good[0, 8:24])
    np.testing.assert_array_equal(view.truth["s"][-1], star[1, 84:])
    assert list(view.labels.ids[:2]) == ["0@0", "0@8"] and view.labels.axes[0].step == 0.02
    ragged = windowed([np.arange(20.0), np.arange(30.0)], {"s": 1.0}, 0.1, window=10)
    assert ragged.y.shape == (5, 10) and ragged.labels.windows.shapes == ((20,), (30,))
    units = pytest.importorskip("astropy.units")
    seen = windowed(record * units.mJy, {"s": 1.0}, std * 1e-3 * units.Jy, window=16)
    np.testing.assert_allclose(np.asarray(seen.noise.value)[-1], 0.2)
    assert seen.labels.unit == "mJy"
    with pytest.raises(ProblemError, match="but y has none"):
        windowed(record, {"s": 1.0}, std * units.Jy, window=16)
    with pytest.raises(ProblemError, match="less than a window"):
        windowed(record, {"s": 1.0}, 0.1, window=101)


def test_cut_outs_of_a_catalogue(tmp_path):
    fits, wcs = pytest.importorskip("astropy.io.fits"), pytest.importorskip("astropy.wcs")
    image, weight = np.zeros((60, 80), np.float32), RNG.uniform(1, 2, (60, 80)).astype(np.float32)
    rows, columns = np.asarray([30, 1, 50]), np.asarray([40, 78, 10])
    image[rows, columns] = [1.0, 2.0, 3.0]
    sky = wcs.WCS(naxis=2)
    sky.wcs.ctype, sky.wcs.crval, sky.wcs.crpix, sky.wcs.cdelt = (
        ["RA---TAN", "DEC--TAN"],
        [50, -3],
        [40, 30],
        [-1e-4, 1e-4],
    )
    header = sky.to_header()
    header["BUNIT"] = "nJy"
    parts = [fits.PrimaryHDU(), fits.ImageHDU(image, header, name="SCI"), fits.ImageHDU(weight, name="WHT")]
    fits.HDUList(parts).writeto(tmp_path / "mosaic.fits")
    ra, dec = sky.all_pix2world(columns, rows, 0)
    known = [fits.Column(name, kind, array=x) for name, kind, x in (("RA", "D", ra), ("DEC", "D", dec))]
    table = fits.BinTableHDU.from_columns([*known, fits.Column("NAME", "8A", array=["a", "b", "c"])])
    table.writeto(tmp_path / "cat.fits")
    text = """
[sources.s]
shape = [9, 9]
[views.v]
y = { file = "mosaic.fits", hdu = "SCI" }
window = [9, 9]
at = { catalogue = "cat.fits", ra = "RA", dec = "DEC", id = "NAME" }
noise = { weight = { hdu = "WHT" } }
mixing.s = 1.0
"""
    (tmp_path / "p.toml").write_text(text)
    view = load_problem(tmp_path / "p.toml").problem.views["v"]
    assert view.y[:, 4, 4].tolist() == [1.0, 2.0, 3.0] and list(view.labels.ids) == ["a", "b", "c"]
    assert not view.labels.windows.whole and view.labels.unit == "nJy"
    assert view.observed[0].all() and not view.observed[1, :3].any() and not view.observed[1, :, 6:].any()
    np.testing.assert_allclose(np.asarray(view.noise.value.std)[2], weight[46:55, 6:15] ** -0.5, rtol=1e-6)
    for i, own in enumerate(view.labels.columns["header"]):  # every cut-out knows where it is
        found = wcs.WCS(fits.Header.fromstring(own, sep="\n")).all_pix2world(4, 4, 0)
        np.testing.assert_allclose(np.ravel(found), [ra[i], dec[i]], atol=1e-9)
    np.savetxt(tmp_path / "cat.csv", np.stack([columns, rows], 1), delimiter=",", header="X,Y", comments="")
    pixels = text.replace('"cat.fits", ra = "RA", dec = "DEC", id = "NAME"', '"cat.csv", x = "x", y = "y"')
    (tmp_path / "p.toml").write_text(pixels)
    assert np.array_equal(load_problem(tmp_path / "p.toml").problem.views["v"].y, view.y)
    for old, new, message in [
        ('ra = "RA"', 'ra = "RAA"', "no column 'RAA'"),
        ('ra = "RA"', 'rah = "RA"', "unknown key 'rah'"),
        ("cat.fits", "none.fits", "no catalogue"),
        ("window = [9, 9]\n", "", "at: there is no window"),
    ]:
        (tmp_path / "p.toml").write_text(text.replace(old, new))
        with pytest.raises(ProblemError, match=message):
            load_problem(tmp_path / "p.toml")
    with pytest.raises(ProblemError, match="beyond the edges"):
        windowed(image, {"s": 1.0}, 0.1, window=[9, 9], at=[[30, 40], [200, 3]])
