"""A small file of every kind that is read, and what a stranger or a bad disk may make of it.

    python tests/reader_cases.py SEED COUNT

reads as many altered files, and says what none of them may do.
"""

import json
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from dichroic.formats import READERS
from dichroic.problem import ProblemError
from dichroic.problem.arrays import ArrayReader

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8)).astype(np.float32)
SECONDS, BYTES = 10, 1 << 30  # that no file may take


def _npy(folder: Path) -> str:
    np.save(folder / "a.npy", X)
    return "a.npy"


def _npz(folder: Path) -> str:
    np.savez_compressed(folder / "a.npz", x=X, y=X[0])
    return "a.npz:x"


def _hdf5(folder: Path) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("deep/x", data=X, chunks=(2, 8), compression="gzip", shuffle=True)
        file["y"] = X
    return "a.h5:deep/x"


def _zarr(folder: Path) -> str:
    zarr.open_group(folder / "a.zarr", mode="w").create_array("x", data=X, chunks=(2, 8))
    return "a.zarr:x"


def _fits(folder: Path) -> str:
    from astropy.io import fits

    picture = fits.CompImageHDU(X, name="X") if folder.name[-1] in "02468" else fits.ImageHDU(X, name="X")
    picture.header["BUNIT"] = "mJy"
    fits.HDUList([fits.PrimaryHDU(), picture]).writeto(folder / "a.fits")
    return "a.fits:x"


def _h5ad(folder: Path) -> str:
    import anndata
    import pandas
    from scipy import sparse

    obs = pandas.DataFrame({"kind": pandas.Categorical(list("ababab")), "depth": X[:, 0]}, [f"c{i}" for i in range(6)])
    data = anndata.AnnData(sparse.csr_matrix(np.maximum(X, 0)), obs)
    data.var_names = [f"g{i}" for i in range(8)]
    data.write_h5ad(folder / "a.h5ad")
    return "a.h5ad"


def _audio(folder: Path) -> str:
    import soundfile

    suffix = ("wav", "flac", "aiff", "ogg")[int(folder.name[-1], 16) % 4]
    soundfile.write(folder / f"a.{suffix}", np.clip(X, -1, 1), 8000)
    return f"a.{suffix}:1"


def _seismic(folder: Path) -> str:
    import obspy

    head = {"network": "XX", "station": "A", "channel": "BHZ", "sampling_rate": 20.0}
    parts = [obspy.Trace(X[0], head), obspy.Trace(X[1], {**head, "starttime": obspy.UTCDateTime(2.5)})]
    suffix, form = (("mseed", "MSEED"), ("sac", "SAC"))[int(folder.name[-1], 16) % 2]
    obspy.Stream(parts[: 1 if suffix == "sac" else 2]).write(str(folder / f"a.{suffix}"), format=form)
    return f"a.{suffix}"


def _tiff(folder: Path) -> str:
    import tifffile

    tifffile.imwrite(folder / "a.ome.tif", (99 * X).astype(np.int16), compression="zlib", metadata={"axes": "YX"})
    return "a.ome.tif"


def _netcdf(folder: Path) -> str:
    import xarray

    data = xarray.DataArray(X, dims=("time", "band"), coords={"time": np.arange(6.0)}, name="x", attrs={"units": "Jy"})
    data.to_netcdf(folder / "a.nc", engine=("h5netcdf", "scipy")[int(folder.name[-1], 16) % 2])
    return "a.nc:x"


def _sigmf(folder: Path) -> str:
    X.tofile(folder / "a.sigmf-data")
    about = {"core:datatype": "cf32_le", "core:sample_rate": 2e6, "core:version": "1.2.0"}
    about = {"global": about, "captures": [{"core:sample_start": 0, "core:frequency": 1e6}], "annotations": []}
    (folder / "a.sigmf-meta").write_text(json.dumps(about))
    return "a.sigmf-meta"


FILES: dict[str, Callable[[Path], str]] = {
    "npy": _npy, "npz": _npz, "hdf5": _hdf5, "zarr": _zarr, "fits": _fits, "h5ad": _h5ad, "audio": _audio,
    "seismic": _seismic, "tiff": _tiff, "netcdf": _netcdf, "sigmf": _sigmf,
}  # fmt: skip

_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 1 << 31, 1 << 62, 10**30, 1e308, float("nan"), "", "\x1b[2J", "../../x", "x" * 5000),
    *([], {}, [[]], [1 << 40], {"id": "pickle"}, {"name": "numcodecs.pickle"}, "|O", "<f8", "float16"),
)


def _altered(content: bytes, rng: random.Random) -> bytes:
    """Bytes with one thing wrong with them."""
    if not content:
        return bytes(rng.randrange(9))
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    place, size = rng.randrange(len(content)), rng.choice((1, 2, 4, 8))
    word = rng.choice(
        (0, 1, (1 << 8 * size) - 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, rng.getrandbits(8 * size))
    )
    digits = [i for i, c in enumerate(content[:20_000]) if 48 <= c <= 57]
    match rng.randrange(8):
        case 0:
            return content[:a]
        case 1:
            return content[:a] + content[b:]
        case 2:
            return content[:b] + content[a:]
        case 3:
            return content[:a] + bytes(b - a) + content[b:]
        case 4 if digits:  # numbers written as text, in headers
            i = rng.choice(digits)
            return content[:i] + rng.choice((b"-", b"9", b"0", b"99999999", b"e")) + content[i + 1 :]
        case 5:
            flipped = bytearray(content)
            for _ in range(rng.randrange(1, 30)):
                flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            return bytes(flipped)
        case _:
            return content[:place] + word.to_bytes(size, rng.choice(("little", "big"))) + content[place + size :]


def _otherwise(found: Any, rng: random.Random) -> Any:
    """JSON with one value in another's place, at any depth."""
    if isinstance(found, dict | list) and found and rng.random() < 0.8:
        keys = list(found) if isinstance(found, dict) else list(range(len(found)))
        key, copy = rng.choice(keys), dict(found) if isinstance(found, dict) else list(found)
        if rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = _otherwise(found[key], rng)
        return copy
    return rng.choice(_VALUES)


def _spoil(file: Path, rng: random.Random) -> None:
    content, chance = file.read_bytes(), rng.random()
    if chance < 0.04:
        file.unlink()
        rng.choice((lambda: None, file.mkdir, lambda: file.symlink_to("/dev/zero"), lambda: file.symlink_to(file)))()
    elif zipfile.is_zipfile(file) and chance < 0.5:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(list(members))
        members[name] = _altered(members[name], rng)
        with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))) as archive:
            for name, member in members.items():
                archive.writestr(name, member)
    else:
        try:
            table = json.loads(content)
        except ValueError:
            table = None
        if table is not None and chance < 0.8:
            file.write_text(json.dumps(_otherwise(table, rng)))
        else:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                content = _altered(content, rng)
            file.write_bytes(content)


def strange(kind: str, seed: int, folder: Path) -> str:
    """Writes a file of a kind, alters it, and returns its name in a problem file."""
    rng, folder = random.Random(f"{kind}{seed}"), folder / f"{kind}{seed}"
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = FILES[kind](folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for file in rng.sample(files, rng.choice((1, 1, min(2, len(files))))):
        _spoil(file, rng)
    return f"{folder.name}/{name}"


def faults_of(kind: str, seed: int, folder: Path) -> Iterator[str]:
    """What reading such a file does that it must not."""
    (folder / "outside").mkdir(exist_ok=True)
    name = strange(kind, seed, folder)
    before, peak, begin = (
        sorted(folder.rglob("*")),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        time.process_time(),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ArrayReader(folder).open(name)
    except ProblemError as error:
        if any("\n" in fault or not fault for fault in error.faults):
            yield f"{kind} {seed}: no sentence: {error}"
    except BaseException as error:
        yield f"{kind} {seed}: {type(error).__name__}: {error}"
    if (took := time.process_time() - begin) > SECONDS:
        yield f"{kind} {seed}: took {took:.0f} s"
    if (grown := 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)) > BYTES:
        yield f"{kind} {seed}: took {grown / 1e9:.1f} GB"
    if sorted(folder.rglob("*")) != before:
        yield f"{kind} {seed}: wrote files"
    shutil.rmtree(folder / name.partition("/")[0])


def main() -> int:
    """Reads files of all kinds in turns."""
    first, count = map(int, sys.argv[1:3])
    kinds, found = [k for k in FILES if k in sys.argv[3:] or not sys.argv[3:]], 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            kind = kinds[seed % len(kinds)]
            print(f"\r{kind} {seed}", end="", file=sys.stderr, flush=True)  # which one it was, should the process end
            for fault in faults_of(kind, seed, Path(folder)):
                print(fault, flush=True)
                found += 1
    assert set(FILES) == set(READERS)
    print(f"{count} files, {found} faults")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
