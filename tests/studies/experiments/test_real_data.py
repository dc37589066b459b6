"""Problems out of files that the user has: made up here, in the formats that the packages have."""

import gzip
import tarfile
import wave
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.sparse import csr_matrix

from dichroic.studies.experiments import case_and_control_cells, galaxies_through_psf, speech_over_music
from dichroic.studies.experiments.cells import FILE
from dichroic.studies.experiments.galaxies_psf import FRAME, PSF, read_fits, sersic_flux
from dichroic.studies.reproduce.generators import MissingData, generate


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Ten prompts, numbered in their waves, and two tracks, as Debian's packages unpack."""
    root, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    folder = root / "usr" / "share" / "asterisk"
    for name in ("sounds/en", "sounds/en/silence", "moh"):
        (folder / name).mkdir(parents=True)

    def write(path, x):
        with wave.open(str(folder / path), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
            file.writeframes(np.round(2**15 * x).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes())

    for k in range(10):
        write(f"sounds/en/prompt{k}.wav", np.sin(0.2 * (k + 1) * np.arange(900)) * (np.arange(900) > 300) / 2)
    for name in ("sounds/en/beep.wav", "sounds/en/silence/1.wav"):
        write(name, np.ones(900) / 4)
    for k in range(2):
        write(f"moh/track{k}.wav", 0.1 * rng.normal(size=4000))
    return root


def test_windows_of_speech_over_music(sounds):
    problem, held_out = speech_over_music(sounds, 300, 200, 100, seed=1, window=64)
    mix, held = problem.views["mix"], held_out.views["mix"]
    assert mix.y.shape == (200, 64) and held.y.shape == (100, 64) and list(held_out.views) == ["mix"]
    assert problem.views["music"].truth["music"].std() == pytest.approx(1)
    assert mix.truth["speech"].std() == pytest.approx(1)
    for view in (mix, held):
        noise = view.y - sum(view.truth.values())
        assert noise.std() == pytest.approx(0.01, rel=5 / np.sqrt(2 * noise.size))
    # nobody is silent, and the held-out voices have other frequencies than those that were learned from
    voices = [np.abs(np.fft.rfft(v.truth["speech"], axis=1))[:, 1:].argmax(1) for v in (mix, held)]
    assert (mix.truth["speech"].std(1) > 0.03).all() and len(set(voices[1])) < len(set(voices[0]))
    again, _ = speech_over_music(sounds, 300, 200, 100, seed=1, window=64)
    np.testing.assert_array_equal(again.views["mix"].y, mix.y)
    with pytest.raises(FileNotFoundError, match="no recordings"):
        speech_over_music(sounds / "usr" / "share" / "asterisk" / "moh", window=64)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Counts of 12 genes in 420 cells, log-normalised, in an AnnData file of old within a wheel."""
    root, rng = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    kinds = np.array(["CD14+ Monocyte", "CD19+ B", "CD4+ T", "Dendritic"])
    label = np.repeat([0, 1, 2, 3], [200, 90, 30, 100])
    rates = rng.gamma(1, 4, (4, 12))
    counts = rng.poisson(rates[label])
    counts[:, 0] = 1  # the least count of every cell
    size = rng.uniform(1, 3, (len(label), 1))
    genes = np.array([f"gene{k}" for k in range(12)], "S8")
    raw = csr_matrix(np.log1p(counts / size)[:, ::-1])  # in another order than the table of genes
    with h5py.File(root / "cells.h5ad", "w") as file:
        file["uns/bulk_labels_categories"] = kinds.astype("S20")
        file["obs"] = np.array([(k,) for k in label], [("bulk_labels", "i1")])
        file["var"] = np.array([(g,) for g in genes], [("index", "S8")])
        file["raw.var"] = np.array([(g,) for g in genes[::-1]], [("index", "S8")])
        group = file.create_group("raw.X")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(raw, part)
        group.attrs["h5sparse_shape"] = raw.shape
    wheel = root / "scanpy-1.11.5-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(root / "cells.h5ad", FILE)
    return wheel, counts, label


def test_sums_of_cells(cells):
    wheel, counts, label = cells
    problem, held_out = case_and_control_cells(wheel, 80, 30, genes=8)
    myeloid, b = (set(map(tuple, counts[np.isin(label, k)])) for k in ([0, 3], [1]))
    variance = np.var(np.log1p(problem.views["case"].y), axis=0)
    assert problem.views["control"].y.shape == (200, 8) and (variance > 0).all()
    whole, whole_held = case_and_control_cells(wheel, 80, 30, genes=12)
    assert set(map(tuple, whole.views["control"].y)) <= myeloid
    seen = {}
    for name, part in (("learned", whole), ("held out", whole_held)):
        view = part.views["case"]
        np.testing.assert_array_equal(view.y, sum(view.truth.values()))
        np.testing.assert_array_equal(view.noise.value.std, np.sqrt(np.maximum(view.y, 1)))
        seen[name] = {s: set(map(tuple, x)) for s, x in view.truth.items()}
        assert seen[name]["background"] <= myeloid and seen[name]["condition"] <= b
    assert not seen["learned"]["condition"] & seen["held out"]["condition"]
    assert not set(map(tuple, whole.views["control"].y)) & seen["held out"]["background"]
    assert held_out.views["case"].y.shape == (30, 8)
    exact = case_and_control_cells(wheel, 80, 30, genes=8, exact=True)[1].views["case"]
    np.testing.assert_array_equal(exact.y, held_out.views["case"].y)
    assert float(np.max(exact.noise.std)) == pytest.approx(12**-0.5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A sky with a bright core whose rows are numbered, and a crooked point spread function."""
    root = tmp_path_factory.mktemp("petrofit-0.5.0")
    sky = 0.001 * np.arange(80)[:, None] + np.zeros((80, 60))
    sky[20, 30] = 5.0
    y, x = np.mgrid[-5:6, -5:6]
    psf = np.exp(-(x**2 + 2 * y**2 + x * y) / 4)
    for name, image in ((FRAME, sky), (PSF, psf)):
        cards = [
            "SIMPLE  =                    T",
            "BITPIX  =                  -32 / reals",
            "NAXIS   =                    2",
        ]
        cards += [f"NAXIS{k}  = {n:20d}" for k, n in ((1, image.shape[1]), (2, image.shape[0]))]
        header = "".join(c.ljust(80) for c in [*cards, "END"]).ljust(2880)
        content = header.encode() + image.astype(">f4").tobytes()
        (root / name).write_bytes(gzip.compress(content.ljust(-(-len(content) // 2880) * 2880, b"\0")))
    archive = root.parent / "petrofit-0.5.0.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for name in (FRAME, PSF):
            file.add(root / name, f"petrofit-0.5.0/docs/data/{name}")
    return root, archive, sky


@pytest.mark.slow
def test_galaxies_through_a_point_spread_function(cluster):
    root, archive, sky = cluster
    np.testing.assert_allclose(read_fits(root, FRAME), sky, rtol=1e-6)
    problem, held_out = galaxies_through_psf(root, 60, 50, 40, size=8)
    for name, view, scale in (
        ("blank", problem.views["blank"], 1),
        ("target", problem.views["target"], 1),
        ("held out", held_out.views["target"], 1.5),
    ):
        std = np.asarray(view.noise.value.std)
        seen = view.truth["sky"]
        if "galaxy" in view.truth:
            seen = seen + np.asarray(jax.vmap(view.mixing["galaxy"])(jnp.asarray(view.truth["galaxy"], jnp.float32)))
        white = ((view.y - seen) / std)[view.observed]
        assert white.std() == pytest.approx(1, abs=5 / np.sqrt(2 * white.size)), name
        assert std[view.observed].min() >= 0.99 * 0.0023 * scale * 0.8
        assert (~view.observed).mean() == pytest.approx(0.03, abs=5 * np.sqrt(0.03 / view.y.size))
        rows = view.truth["sky"] / 0.001
        assert view.truth["sky"].max() < 0.3 and ((rows > 59.5) == (name == "held out")).all()
    kernels = [np.asarray(p.views["target"].mixing["galaxy"].kernel) for p in (problem, held_out)]
    assert all(k.sum() == pytest.approx(1) for k in kernels) and kernels[1].max() < 0.8 * kernels[0].max()
    galaxy = problem.views["target"].truth["galaxy"][0, ..., 0]
    through = problem.views["target"].mixing["galaxy"](jnp.asarray(galaxy, jnp.float32)[..., None])[..., 0]
    np.testing.assert_allclose(through, fftconvolve(galaxy, kernels[0], "same"), atol=1e-6)
    same, _ = galaxies_through_psf(archive, 60, 50, 40, size=8)
    np.testing.assert_array_equal(same.views["target"].y, problem.views["target"].y)


def test_half_of_the_light_of_a_galaxy_is_within_its_radius():
    grid = np.mgrid[-60:60:0.25, -60:60:0.25]
    flux = sersic_flux(grid, 1.0, 4.0, 1.0, (0.0, 0.0), 0.5, 0.3)
    along = grid[1] * np.cos(0.3) + grid[0] * np.sin(0.3)
    across = grid[0] * np.cos(0.3) - grid[1] * np.sin(0.3)
    within = np.hypot(along, across / 0.5) < 4
    assert flux[within].sum() / flux.sum() == pytest.approx(0.5, abs=0.01)


def test_what_is_missing_is_said_with_the_way_to_get_it(tmp_path, sounds, cells, cluster):
    for name, how in (
        ("speech_over_music", "asterisk-moh-opsound-wav"),
        ("case_and_control_cells", "scanpy==1.11.5"),
        ("galaxies_through_psf", "petrofit==0.5.0"),
    ):
        for data in (None, tmp_path, tmp_path / "nowhere", cells[0] if "cells" not in name else cluster[1]):
            with pytest.raises(MissingData, match=how):
                generate(name, {}, 0, data)
    few = {"n_music": 8, "n_mix": 8, "n_held_out": 8, "window": 64}
    assert len(generate("speech_over_music", few, 0, sounds)[1].views["mix"]) == 8
    assert len(generate("case_and_control_cells", {"n_held_out": 9}, 0, cells[0].parent)[1].views["case"]) == 9
    for data in cluster[:2]:
        assert len(generate("galaxies_through_psf", {"n_held_out": 9, "size": 8}, 0, data)[1].views["target"]) == 9
