"""A drafted problem file: whatever it says is read again, and the data do not contradict it."""

import numpy as np
import pytest

from dichroic.design.data import check_data
from dichroic.problem import ProblemError, load_problem
from dichroic.problem.drafting import draft, draft_like, noise_level

RNG = np.random.default_rng(0)


def smooth(n, *shape):
    phases = RNG.uniform(0, 6, (2, n, *(1,) * len(shape)))
    grid = np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return (3 * np.sin(0.1 * grid + phases[0]) + np.cos(0.2 * grid + phases[1])) * np.ones(shape)


def noisy(x, level=0.1):
    return (x + level * RNG.normal(size=x.shape)).astype(np.float32)


def drafted(folder, *files):
    """What a draft says, read again; no finding of the data contradicts the noise."""
    text, shapes, guessed = draft(files, folder)
    (folder / "problem.toml").write_text(text)
    problem = load_problem(folder / "problem.toml").problem
    assert {name: list(view.y.shape) for name, view in problem.views.items()} == shapes
    assert not [finding for finding in check_data(problem) if finding.code == "DC101"]
    return text, problem, guessed


@pytest.mark.parametrize(
    ("y", "level", "near"),
    [
        (smooth(200, 64), 0.1, 0.05),
        (smooth(40, 16, 16), 0.1, 0.05),
        (RNG.normal(size=(400, 3)) @ RNG.normal(size=(3, 40)), 0.1, 0.1),  # not smooth, but of few patterns
        (np.zeros((200, 4)), 0.1, 0.15),
    ],
    ids=["series", "images", "patterns", "noise"],
)
def test_the_noise_of_smooth_data_and_of_few_patterns_is_found(y, level, near):
    assert abs(noise_level(noisy(y, level)) / level - 1) < near


def test_complex_noise_is_that_of_a_part_and_missing_values_do_not_count():
    y = smooth(100, 64) + level_of_both_parts()
    y[3, 5:20] = np.nan
    assert abs(noise_level(y) / 0.1 - 1) < 0.05


def level_of_both_parts():
    return 0.1 * (RNG.normal(size=(100, 64)) + 1j * RNG.normal(size=(100, 64)))


def test_rows(tmp_path):
    np.save(tmp_path / "sky.npy", noisy(smooth(64, 8)))
    np.save(tmp_path / "both.npy", noisy(smooth(64, 8)))
    text, problem, guessed = drafted(tmp_path, "sky.npy", "both.npy")
    assert {name: list(view.mixing) for name, view in problem.views.items()} == {
        "alone": ["background"],
        "mixed": ["background", "target"],
    }
    assert len(guessed) == 2 and "window" not in text
    np.save(tmp_path / "wide.npy", noisy(smooth(64, 9)))
    with pytest.raises(ProblemError, match="bring them to one shape"):
        draft(["sky.npy", "wide.npy"], tmp_path)
    with pytest.raises(ProblemError, match="no files were named"):
        draft([], tmp_path)


def test_records_of_complex_numbers(tmp_path):
    record = smooth(1, 20_000)[0] + 0.1 * (RNG.normal(size=20_000) + 1j * RNG.normal(size=20_000))
    np.save(tmp_path / "r.npy", record.astype(np.complex64))
    text, problem, _ = drafted(tmp_path, "r.npy")
    assert problem.sources["background"].is_complex and "rate" in text
    assert problem.views["mixed"].y.shape == (79, 256)


def test_cut_outs_with_weights_and_flags(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    for i in range(12):
        flags = np.where(RNG.random((8, 8)) < 0.1, 16, 0).astype(np.int32)
        flags[0, 0] = 1  # in every one of them, so that nothing would be known of the corner
        data = fits.ImageHDU(noisy(smooth(1, 8, 8)[0]), name="SCI")
        data.header["BUNIT"] = "mJy"
        parts = [data, fits.ImageHDU(np.full((8, 8), 100.0), name="WHT"), fits.ImageHDU(flags, name="DQ")]
        fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / f"c{i:02d}.fits")
    text, problem, guessed = drafted(tmp_path, "c*.fits")
    view = problem.views["mixed"]
    assert guessed == [] and "bits = [4]" in text and "without '0'" in text
    assert problem.sources["background"].unit == "mJy" and view.observed[:, 0, 0].all() and not view.observed.all()


@pytest.mark.parametrize("name", ["mosaic.fits", "picture.ome.tif", "colours.ome.tif"])
def test_pictures_are_cut_into_windows(tmp_path, name):
    x = np.moveaxis(noisy(smooth(3, 160, 128)), 0, -1)[..., : 3 if "colours" in name else 1]
    if name.endswith("fits"):
        pytest.importorskip("astropy.io.fits").PrimaryHDU(x[..., 0]).writeto(tmp_path / name)
    else:
        axes = {"axes": "YXS" if x.shape[-1] == 3 else "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "um"}
        tifffile, kind = pytest.importorskip("tifffile"), "rgb" if x.shape[-1] == 3 else "minisblack"
        tifffile.imwrite(tmp_path / name, x if x.shape[-1] == 3 else x[..., 0], metadata=axes, photometric=kind)
    text, problem, _ = drafted(tmp_path, name)
    view = problem.views["mixed"]
    assert view.y.shape == ((80, 16, 16, 3) if "colours" in name else (80, 16, 16))
    assert view.labels.windows.whole and "convolve" in text
    if name.endswith("tif"):
        assert (view.labels.axes[1].step, view.labels.axes[1].unit) == (0.5, "um")


def test_cells_with_a_column_that_names_controls(tmp_path):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    sparse = pytest.importorskip("scipy.sparse")
    counts = sparse.csr_matrix(RNG.poisson(40.0, (90, 5)).astype(np.float32))
    said = pandas.DataFrame({"batch": ["a"] * 90, "state of it": ["Control"] * 50 + ["case"] * 30 + ["late"] * 10})
    said.index = said.index.astype(str)
    cells = anndata.AnnData(counts, said, pandas.DataFrame(index=list("ABCDE")), layers={"counts": counts})
    cells.obs_names = [f"cell{i}" for i in range(90)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    text, problem, guessed = drafted(tmp_path, "cells.h5ad")
    assert {name: len(view) for name, view in problem.views.items()} == {"alone": 50, "mixed": 40}
    assert problem.sources["background"].range is not None and "poisson" in text and "gene" in text
    assert guessed == ["the noise of 'alone', that of counts", "the noise of 'mixed', that of counts"]


def test_other_observations_of_the_same_sources(tmp_path):
    np.savez(tmp_path / "old.npz", y=noisy(smooth(3, 400)), s=np.full((3, 400), 0.2, np.float32))
    np.savez(tmp_path / "new.npz", y=noisy(smooth(1, 300)), s=np.full((1, 300), 0.3, np.float32))
    (tmp_path / "problem.toml").write_text(
        'held_out = 0.1\n[sources.a]\nshape = [16]\nunit = "V"\n[sources.b]\nshape = [16]\npositive = true\n'
        '[views.alone]\ny = "other.npz"\nnoise = 0.1\nmixing.a = 1.0\n'
        '[views.both]\ny = "old.npz:y"\nwindow = 16\nnoise = { std = "old.npz:s", per_sample = true }\n'
        'mixing = { a = 1.0, b = { convolve = "psf.npz:k" } }\n[fit]\nlaps = 0\n'
    )
    np.savez(tmp_path / "psf.npz", k=np.ones(3, np.float32) / 3)
    text, shapes = draft_like(tmp_path / "problem.toml", "new.npz")
    assert shapes == {"both": [1, 300]} and "[fit]" not in text and "held_out" not in text
    (tmp_path / "new.toml").write_text(text)
    problem = load_problem(tmp_path / "new.toml").problem
    assert list(problem.views) == ["both"] and problem.sources["b"].range is not None
    view = problem.views["both"]
    assert view.y.shape == (37, 16) and "new.npz:s" in text and "hop = 8" in text
    with pytest.raises(ProblemError, match="no files match"):
        draft_like(tmp_path / "problem.toml", "none*.npz")
