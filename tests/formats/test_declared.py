"""Small files that unpack to gigabytes, or are never at an end, are refused before anything is allocated."""

import bz2
import json
import os
import zlib

import h5py
import numpy as np
import pytest
import zarr

from dichroic.problem import ProblemError, load_problem
from dichroic.problem.arrays import ArrayReader


@pytest.fixture
def fault(tmp_path):
    def fault(spec):
        with pytest.raises(ProblemError) as caught:
            ArrayReader(tmp_path).read(spec)
        assert len(caught.value.faults) == 1
        return caught.value.faults[0]

    return fault


def old_zarr(folder, chunk: bytes, **change):
    folder.mkdir()
    meta = {"zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": "<f8", "compressor": None, "fill_value": 0.0}
    (folder / ".zarray").write_text(json.dumps({**meta, "order": "C", "filters": None, **change}))
    (folder / "0.0").write_bytes(chunk)


def zeros_in_zstd(size: int) -> bytes:
    """A frame of blocks of one repeated byte (RFC 8878)."""
    head = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little")
    sides = [1 << 17] * (size >> 17)
    return head + b"".join(
        (n << 3 | 2 | (i == len(sides) - 1)).to_bytes(3, "little") + b"\0" for i, n in enumerate(sides)
    )


@pytest.mark.parametrize(
    ("chunk", "change", "words"),
    [
        (zeros_in_zstd(1 << 20), {"compressor": {"id": "zstd", "level": 1}}, "holds more than a chunk of 128 bytes"),
        (bz2.compress(bytes(1 << 20)), {"compressor": {"id": "bz2", "level": 9}}, "more than a chunk of 128 bytes"),
        (
            b"\2\1\0\1" + (1 << 31).to_bytes(4, "little") + bytes(8),
            {"compressor": {"id": "blosc"}},
            "more than a chunk",
        ),
        (
            zlib.compress(zlib.compress(bytes(128))),
            {"compressor": {"id": "zlib", "level": 9}, "filters": [{"id": "zlib", "level": 9}]},
            "compressed more than once, by zlib and zlib",
        ),
        (b"", {"chunks": [1 << 28, 4], "compressor": {"id": "zlib", "level": 9}}, "declares 8.6 GB"),
        (b"", {"filters": 5}, "the codec '5'"),
    ],
)
def test_chunks_of_zarr_that_hold_more_than_they_should(fault, tmp_path, chunk, change, words):
    old_zarr(tmp_path / "y.zarr", chunk, **change)
    assert words in fault("y.zarr")


@pytest.mark.parametrize("member", ["c/0/0", "zarr.json", ".zgroup", "c/0"])
def test_members_of_zarr_that_are_no_files(fault, tmp_path, member):
    zarr.create_array(str(tmp_path / "y.zarr"), data=np.ones((4, 4)), chunks=(2, 4), fill_value=np.nan)
    place = tmp_path / "y.zarr" / member
    if place.is_dir():  # what a link leads to is not looked into
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.unlink(missing_ok=True)
        place.symlink_to("/dev/zero")
    assert f"'{member}' is no file" in fault("y.zarr")


def test_chunks_of_hdf5_that_reach_far_beyond_the_data(fault, tmp_path):
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("y", (4, 4), maxshape=(None, 4), chunks=(1 << 26, 4), dtype="f8", compression="gzip")
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 4))
        for _ in range(2):
            plist.set_deflate(9)
        space = h5py.h5s.create_simple((4, 4))
        h5py.h5d.create(file.id, b"twice", h5py.h5t.NATIVE_DOUBLE, space, plist)
    assert "declares 2.1 GB" in fault("y.h5:y")
    assert "compressed more than once" in fault("y.h5:twice")


def test_what_is_read_beside_the_data(fault, tmp_path):
    pytest.importorskip("h5netcdf")
    with h5py.File(tmp_path / "y.nc", "w") as file:
        for name, n in (("time", 1 << 29), ("t", 4)):
            file.create_dataset(name, (n,), "f8", chunks=(4,)).make_scale(name)
        file["y"] = np.ones(4)
        file["y"].dims[0].attach_scale(file["t"])
    assert "'y.nc:time': declares 4.3 GB" in fault({"file": "y.nc", "variable": "y"})


def test_names_of_cells(fault, tmp_path):
    pandas, anndata = pytest.importorskip("pandas"), pytest.importorskip("anndata")
    with h5py.File(tmp_path / "y.h5ad", "w") as file:
        for part in ("obs", "var"):
            anndata.io.write_elem(file, part, pandas.DataFrame(index=["a", "b"]))
        anndata.io.write_elem(file, "X", np.ones((2, 2), np.float32))
        about = dict(file["obs/_index"].attrs)
        del file["obs/_index"]
        file.create_dataset("obs/_index", (1 << 29,), h5py.string_dtype(), chunks=(4,)).attrs.update(about)
    assert "'y.h5ad:obs/_index': declares" in fault("y.h5ad")


@pytest.mark.filterwarnings("ignore")
def test_gaps_of_decades(fault, tmp_path):
    obspy = pytest.importorskip("obspy")
    head = {"network": "XX", "station": "A", "channel": "BHZ", "sampling_rate": 100.0}
    parts = [obspy.Trace(np.arange(9.0), {**head, "starttime": obspy.UTCDateTime(year, 1, 1)}) for year in (1970, 2070)]
    obspy.Stream(parts).write(str(tmp_path / "y.mseed"), format="MSEED")
    assert "gaps included: declares" in fault("y.mseed")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices")
@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "fits", "wav", "mseed", "tif", "nc", "h5ad", "sigmf-meta"])
def test_pipes_and_devices_are_not_opened(fault, tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        key = "" if suffix == "sigmf-meta" else ":a"
        assert fault(f"{name}.{suffix}{key}").endswith("is neither a file nor a folder")
        assert fault({"files": f"{name[:-1]}*.{suffix}"}).endswith("is neither a file nor a folder")


def test_windows_of_every_entry(tmp_path):
    np.save(tmp_path / "y.npy", np.zeros(1_000_000, np.float32))
    text = (
        '[sources.s]\nshape = [65536]\n[views.v]\ny = "y.npy"\nwindow = 65536\nhop = 1\nnoise = 1.0\nmixing.s = 1.0\n'
    )
    (tmp_path / "problem.toml").write_text(text)
    with pytest.raises(ProblemError, match="hop: 934466 windows take 245 GB; a larger hop makes fewer"):
        load_problem(tmp_path)


def test_strings_that_are_never_got_past(fault, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("y", data=np.ones((8, 3), np.float32))
        file["y"].attrs["names"] = ["flux", "weight"]
    content = (tmp_path / "x.h5").read_bytes()
    place = content.index(b"GCOL") + 16  # the first string's header becomes that of a free place of no size
    (tmp_path / "x.h5").write_bytes(content[:place] + bytes(16) + content[place + 16 :])
    assert "strings in it are damaged" in fault("x.h5:y")


@pytest.mark.parametrize("big", [False, True])
def test_pages_of_a_tiff_that_go_round(fault, tmp_path, big):
    """The directory of the second page says that the next one is the first."""
    import tifffile

    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big) as file:
        file.write(np.ones((2, 3), np.int16)), file.write(np.ones((3, 2), np.int16))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tiff, first, last = file.tiff, file.pages[0].offset, file.pages[1]
        assert len(file.pages) == 2
        end = last.offset + tiff.tagnosize + len(last.tags) * tiff.tagsize
    content[end : end + tiff.offsetsize] = first.to_bytes(tiff.offsetsize, "little")
    (tmp_path / "a.tif").write_bytes(content)
    assert "has pages that go round" in fault("a.tif:0")
