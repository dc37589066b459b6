"""The journey of `docs/howto/journey.md`, by fields: every command that stands there, on files of that field."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from dichroic.cli.app import main

PAGE = Path(__file__).parents[2] / "docs/howto/journey.md"
# diagnosing within minutes is for whoever wants to know; here the commands are to work
BRIEFLY = [
    "--observations",
    "16",
    *(x for name in ("sbc", "fission", "leakage", "maps") for x in (f"--{name}", "16x7")),
]
RNG = np.random.default_rng(0)


def commands() -> tuple[dict[str, list[str]], list[str]]:
    """Those of every field, and those that all have in common."""
    rows = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    told = [[cell.strip() for cell in row] for row in rows]
    fields = {row[0]: [c.strip("`") for c in row[1:]] for row in told if len(row) == 5 and row[1].startswith("`")}
    return fields, [found[1] for row in told if row[0].isdigit() and (found := re.match("`(dichroic.*?)`", row[1]))]


FIELDS, STEPS = commands()


def windows(x, side, n):
    places = RNG.integers(0, np.asarray(x.shape[:2]) - side, (n, 2))
    return np.stack([x[r : r + side, c : c + side] for r, c in places])


def images(folder):
    """Cut-outs of the Hubble deep field, the galaxies in their middle, with weights, flags and a WCS."""
    fits, wcs = pytest.importorskip("astropy.io.fits"), pytest.importorskip("astropy.wcs")
    from skimage import data

    field = data.hubble_deep_field().mean(-1)
    bright = [
        (r, c)
        for r, c in RNG.integers(8, 860, (40_000, 2))
        if field[r, c] == field[r - 7 : r + 7, c - 7 : c + 7].max() > 40
    ]
    for name, n in (("sky", 90), ("galaxies", 60), ("tonight", 6)):
        (folder / name).mkdir()
        for i in range(n):
            r, c = (
                RNG.integers(0, 860, 2)
                if name == "sky"
                else bright[i if name == "galaxies" else 60 + i] - np.array([5, 5])
            )
            y = field[r : r + 10, c : c + 10] + RNG.normal(size=(10, 10))
            world = wcs.WCS(naxis=2)
            world.wcs.ctype, world.wcs.crval, world.wcs.cdelt = (
                ["RA---TAN", "DEC--TAN"],
                [53.0 + i, -28.0],
                [-1e-5, 1e-5],
            )
            science = fits.ImageHDU(y.astype(np.float32), world.to_header(), name="SCI")
            science.header["BUNIT"], science.header["OBJECT"] = "adu", f"{name} {i}"
            flags = np.where(RNG.random(y.shape) < 0.03, 16, 0).astype(np.int16)
            parts = [fits.ImageHDU(np.ones_like(y), name="WHT"), fits.ImageHDU(flags, name="DQ")]
            fits.HDUList([fits.PrimaryHDU(), science, *parts]).writeto(folder / name / f"{name}{i}.fits")


def fits_come_back(folder):
    from astropy.io import fits
    from astropy.wcs import WCS

    with fits.open(folder / "tonight.fits") as units:
        found = units["mixed/target/mean", 3]
        assert found.header["BUNIT"] == "adu" and found.header["OBJECT"] == "tonight 2" and found.data.shape == (10, 10)
        assert WCS(found.header).wcs.crval[0] == 55.0
        assert units["mixed/target/draws", 3].data.ndim == 3


def tones(n):
    time = np.arange(n) / 8000
    return sum(0.1 * np.sin(2 * np.pi * f * time + RNG.uniform(0, 6)) for f in (220, 330, 440))


def voice(n):
    gate = np.repeat(RNG.random(n // 800 + 1) < 0.5, 800)[:n]
    return 0.3 * gate * np.convolve(RNG.normal(size=n + 7), np.ones(8) / 8, "valid")


def sound(folder):
    soundfile = pytest.importorskip("soundfile")
    for name, n in (("music", 48_000), ("talk", 48_000), ("new", 6_001)):
        x = tones(n) + (voice(n) if name != "music" else 0) + 0.003 * RNG.normal(size=n)
        soundfile.write(folder / f"{name}.wav", x, 8000, subtype="FLOAT")


def sound_comes_back(folder):
    import soundfile

    x, rate = soundfile.read(folder / "new.out.target.wav")
    y, _ = soundfile.read(folder / "new.wav")
    assert rate == 8000 and x.shape == y.shape
    seen = x + soundfile.read(folder / "new.out.background.wav")[0]
    assert np.sqrt(np.mean((seen - y) ** 2)) < 0.1 * y.std()


def cells(folder):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    sparse = pytest.importorskip("scipy.sparse")
    genes = [f"GENE{i}" for i in range(12)]

    def write(name, kinds):
        base = RNG.gamma(4, 2, (len(kinds), 1)) * np.linspace(1, 3, 12)
        more = RNG.gamma(2, 5, (len(kinds), 1)) * (np.arange(12) > 7) * (np.asarray(kinds) == "case")[:, None]
        x = anndata.AnnData(
            sparse.csr_matrix(RNG.poisson(base + more).astype(np.float32)),
            pandas.DataFrame({"condition": kinds}, index=[f"{name}{i}" for i in range(len(kinds))]),
            pandas.DataFrame({"chromosome": ["7"] * 12}, index=genes),
        )
        x.write_h5ad(folder / f"{name}.h5ad")

    write("cells", ["control"] * 150 + ["case"] * 150)
    write("new", ["case"] * 9)


def cells_come_back(folder):
    import anndata

    found = anndata.read_h5ad(folder / "separated.h5ad")
    assert list(found.obs_names) == [f"new{i}" for i in range(9)] and list(found.var_names)[:2] == ["GENE0", "GENE1"]
    assert set(found.obs["condition"]) == {"case"} and set(found.var["chromosome"].astype(str)) == {"7"}
    assert {"target", "target_std", "background"} <= set(found.layers)


def radio(folder):
    sigmf = pytest.importorskip("sigmf")
    for name, n in (("interference", 12_000), ("both", 12_000), ("new", 3_000)):
        f = np.fft.fft(RNG.normal(size=n) + 1j * RNG.normal(size=n))
        x = 2 * np.fft.ifft(np.where(np.abs(np.fft.fftfreq(n)) > 0.1, 0, f))
        if name != "interference":
            x = x + np.repeat(RNG.choice([1, -1], n // 8) + 1j * RNG.choice([1, -1], n // 8), 8)
        x = x + 0.05 * (RNG.normal(size=n) + 1j * RNG.normal(size=n))
        x.astype(np.complex64).tofile(file := folder / f"{name}.sigmf-data")
        said = {"core:datatype": "cf32_le", "core:sample_rate": 1e6, "core:version": "1.0.0"}
        meta = sigmf.SigMFFile(data_file=str(file), global_info=said)
        meta.add_capture(0, metadata={"core:frequency": 915e6})
        meta.tofile(str(folder / f"{name}.sigmf-meta"))


def radio_comes_back(folder):
    import sigmf

    found = sigmf.sigmffile.fromfile(str(folder / "separated.target.sigmf-meta"))
    assert found.get_global_info()["core:sample_rate"] == 1e6 and found.get_captures()[0]["core:frequency"] == 915e6
    assert found.read_samples().shape == (3_000,)


def microscopy(folder):
    """The picture of a cell that scikit-image brings: what is beside it, and the cell."""
    tifffile = pytest.importorskip("tifffile")
    from skimage import data

    x, said = data.cell(), {"axes": "YX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "um", "PhysicalSizeY": 0.2}
    for name, part in (("empty", x[:320, :320]), ("cells", x[300:460, 320:480]), ("new", x[400:440, 340:400])):
        tifffile.imwrite(folder / f"{name}.ome.tif", part, metadata=said)


def microscopy_comes_back(folder):
    import tifffile

    with tifffile.TiffFile(folder / "separated.target.ome.tif") as file:
        assert file.series[0].shape == (40, 60) and 'PhysicalSizeX="0.2"' in (file.ome_metadata or "")


def seismograms(folder):
    """An hour of a station's noise that obspy brings, with a local event of another one over it."""
    obspy = pytest.importorskip("obspy")
    trace = obspy.read(str(Path(obspy.__file__).parent / "signal/tests/data/ref_STS2"))[0]
    for factor in (5, 4):
        trace.decimate(factor)
    noise, event = trace.data - trace.data.mean(), obspy.read()[0]
    event.decimate(10)
    shape = event.data / np.abs(event.data).max()
    for name, start, n in (("quiet", 0, 14_000), ("events", 14_000, 14_000), ("new", 28_000, 2_000)):
        x = noise[start : start + n].copy()
        for k in range(200, n - 400, 350) if name != "quiet" else ():
            x[k : k + 300] += noise.std() * RNG.uniform(3, 8) * shape[:300]
        begin, half = trace.stats.starttime + start / 10, n // 2
        said = {"network": "CA", "station": "STS2", "channel": "EHZ", "sampling_rate": 10.0}
        gap = 100  # a file with a gap, as they come
        parts = [(x[:half], begin), (x[half + gap :], begin + (half + gap) / 10)]
        stream = [obspy.Trace(part.astype(np.float32), {**said, "starttime": at}) for part, at in parts]
        obspy.Stream(stream).write(str(folder / f"{name}.mseed"), format="MSEED")


def seismograms_come_back(folder):
    import obspy

    before, after = (obspy.read(str(folder / f"{name}.mseed")) for name in ("new", "separated.target"))
    assert after[0].id == "CA.STS2..EHZ" and after[0].stats.delta == 0.1
    assert after[0].stats.starttime == before[0].stats.starttime


def spectra(folder):
    """Spectra of soya alone and of soya and woods, of the hyperspectral image that tensorly brings."""
    xarray, tensorly = pytest.importorskip("xarray"), pytest.importorskip("tensorly")
    place = Path(tensorly.__file__).parent / "datasets/data"
    cube, kinds = (np.load(place / f"Indian_pines_{name}.npy") for name in ("corrected", "gt"))
    bands = np.arange(0, 200, 5)

    def pick(kind, n):
        return RNG.choice(cube[kinds == kind], n)[:, bands] / 2

    for name, n in (("soya", 250), ("mixed", 250), ("new", 9)):
        y = pick(11, n) + (pick(14, n) if name != "soya" else 0) + 20 * RNG.normal(size=(n, len(bands)))
        radiance = (("pixel", "wavelength"), y.astype(np.float32), {"units": "counts"})
        coordinates = {
            "wavelength": ("wavelength", 400 + 9.5 * bands, {"units": "nm"}),
            "pixel": [f"{name}{i}" for i in range(n)],
        }
        xarray.Dataset({"radiance": radiance}, coordinates).to_netcdf(folder / f"{name}.nc", engine="h5netcdf")


def spectra_come_back(folder):
    import xarray

    with xarray.open_dataset(folder / "separated.nc", engine="h5netcdf") as data:
        assert data["target"].dims == ("chain", "draw", "observation", "wavelength")
        assert data["target"].attrs["units"] == "counts" and data["wavelength"].attrs["units"] == "nm"
        assert list(data["observation"].values[:2]) == ["new0", "new1"] and data["wavelength"][1] == 447.5


JOURNEYS = {
    "images, FITS": (images, fits_come_back),
    "sound": (sound, sound_comes_back),
    "cells, AnnData": (cells, cells_come_back),
    "radio, SigMF": (radio, radio_comes_back),
    "microscopy, OME-TIFF": (microscopy, microscopy_comes_back),
    "seismograms, miniSEED": (seismograms, seismograms_come_back),
    "spectra, NetCDF": (spectra, spectra_come_back),
}


def test_the_page_has_all_fields_and_steps():
    assert list(FIELDS) == list(JOURNEYS)
    words = [step.split()[1] for step in STEPS]
    assert words == ["check", "plan", "fit", "status", "diagnose", "report", "compare"]
    for row in FIELDS.values():
        assert [command.split()[1] for command in row] == ["init", "init", "separate", "export"]


@pytest.mark.slow
@pytest.mark.runs_long
@pytest.mark.parametrize("field", JOURNEYS)
def test_every_command_works(field, tmp_path, monkeypatch, capsys):
    make, comes_back = JOURNEYS[field]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    begin, again, separate, export = FIELDS[field]
    check, plan, fit, status, diagnose, report, compare = STEPS
    for command in (begin, check, plan, fit, status, again, separate, diagnose, report, export, compare):
        words = shlex.split(command)[1:] + (BRIEFLY if command is diagnose else [])
        code = main(words)
        out, err = capsys.readouterr()
        assert code in ((0, 3) if command is diagnose else (0,)), (command, out, err)
        assert "Traceback" not in err and "XLA" not in err and "slow" not in err.lower().replace("slowly", ""), err
        if command is begin:  # what is tried are the commands, not what they learn
            text = (file := tmp_path / "problem.toml").read_text()
            assert "[fit]\n" in text
            file.write_text(text.replace("[fit]\n", "[fit]\ncomponents.components = 2\n"))
    comes_back(tmp_path)
