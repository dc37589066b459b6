"""Arrays on disk, in every format, and the many ways in which they are not there."""

import h5py
import numpy as np
import pytest
import zarr

from dichroic.problem import ProblemError
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.containers import open_container
from dichroic.problem.values import as_flags, as_floats, as_numbers, unmask

X = np.arange(24.0).reshape(4, 3, 2)


@pytest.fixture
def reader(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, scalar=np.float32(0.5), words=np.array(["a"]))
    np.savez_compressed(tmp_path / "small.npz", x=X)
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "big.npy", X.astype(">f4"))
    np.save(tmp_path / "table.npy", np.zeros(3, dtype=[("ra", float), ("dec", float)]))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/x"] = X
        file["text"] = "hello"
    zarr.create_array(str(tmp_path / "one.zarr"), data=X)
    group = zarr.create_group(str(tmp_path / "many.zarr"))
    group.create_array("inner/x", data=X)
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    (tmp_path / "broken.h5").write_bytes(b"no hdf5")
    (tmp_path / "broken.npy").write_bytes(b"")
    (tmp_path / "broken.zarr").mkdir()
    return ArrayReader(tmp_path)


@pytest.mark.parametrize(
    "spec",
    ["a.npz:x", "small.npz:x", "a.npy", "a.h5:group/x", "a.h5:/group/x", "one.zarr", "many.zarr:inner/x", " a.npy "],
)
def test_every_format(reader, spec):
    np.testing.assert_array_equal(reader.read(spec), X)


def test_absolute_paths(reader, tmp_path):
    np.testing.assert_array_equal(reader.read(f"{tmp_path}/a.npz:x"), X)


def test_a_colon_in_the_path(reader, tmp_path):
    (tmp_path / "12:30").mkdir()
    np.save(tmp_path / "12:30" / "a.npy", X)
    np.testing.assert_array_equal(reader.read("12:30/a.npy"), X)


def test_foreign_byte_order_becomes_native(reader):
    found = reader.read("big.npy")
    np.testing.assert_array_equal(found, X)
    assert found.dtype == np.dtype("f4").newbyteorder("=")


def test_numbers_and_lists(reader):
    assert reader.read(2) == 2
    assert reader.read(0.5) == 0.5
    np.testing.assert_array_equal(reader.read([[1, 2], [3, 4]]), [[1, 2], [3, 4]])
    assert reader.read("a.npz:scalar").shape == ()


def test_scaled_arrays(reader, tmp_path):
    np.save(tmp_path / "bytes.npy", np.array([[0, 255]], np.uint8))
    found = reader.read({"array": "bytes.npy", "scale": 1 / 255})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 1]])
    np.testing.assert_allclose(reader.read({"array": [1.0, 2.0], "scale": 2}), [2, 4])


def test_each_array_is_read_once(reader):
    assert reader.read("a.npz:x") is reader.read("a.npz:x")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("b.npz:x", r"no file 'b.npz' in .*; found there: .*'a.npz'"),
        ("smal.npz:x", r"did you mean 'small.npz'\?"),
        ("A.NPZ:x", r"did you mean 'a.npz'\?"),
        ("data/a.npz:x", r"there is no folder .*data, so no file 'a.npz' in it"),
        ("a.npz:y", r"no 'y' in 'a.npz'; keys there: 'x', 'scalar', 'words'"),
        ("a.npz:scaler", r"did you mean 'scalar'\?"),
        ("a.npz", r"'a.npz' holds several arrays; name one as 'a.npz:KEY'. Keys: 'x'"),
        ("a.npz:", r"'a.npz' holds several arrays"),
        ("a.npy:x", r"'a.npy' holds one array and takes no key, got 'x'"),
        ("a.h5:group", r"no 'group' in 'a.h5'; keys there: 'group/x', 'text'"),
        ("a.h5", r"holds several arrays.*Keys: 'group/x'"),
        ("a.h5:text", r"'a.h5:text': expected numbers, got"),
        ("one.zarr:x", r"'one.zarr' holds one array and takes no key"),
        ("many.zarr", r"holds several arrays.*'inner/x'"),
        ("many.zarr:inner", r"no 'inner' in 'many.zarr'; keys there: 'inner/x'"),
        ("a.npz:words", r"'a.npz:words': expected numbers, got an array of type <U1"),
        ("table.npy", r"'table.npy': expected an array of numbers, got a table with columns ra, dec"),
        ("objects.npy", r"'objects.npy' cannot be read as npy: .*objects in dtype"),
        ("broken.npz:x", r"'broken.npz' cannot be read as npz"),
        ("broken.npy", r"'broken.npy' cannot be read as npy"),
        ("broken.h5:x", r"'broken.h5' cannot be read as h5"),
        ("broken.zarr:x", r"'broken.zarr' cannot be read as zarr"),
        ("a.csv", r"expected 'FILE:KEY' with a file that ends in .npz, .*, got 'a.csv'"),
        ("", r"expected 'FILE:KEY'"),
        ("x", r"expected 'FILE:KEY'"),
        ("https://host/a.npz:x", r"there is no folder"),
        (True, r"got true"),
        (None, r"got None"),
        ([[1, 2], [3]], r"that does not form one"),
        (["a", "b"], r"expected numbers"),
        ([[1.0, None]], r"expected numbers"),
        ({"arry": "a.npy"}, r"expected a number, a list, 'FILE:KEY'"),
        ({"array": "a.npy", "scal": 1}, r"unknown key 'scal' beside 'array'.*did you mean 'scale'\?"),
        ({"array": "a.npy", "scale": "2"}, r"scale: expected a number, got '2'"),
        ({"array": "a.npy", "scale": True}, r"scale: expected a number"),
    ],
)
def test_what_cannot_be_read(reader, spec, message):
    with pytest.raises(ProblemError, match=message):
        reader.read(spec)


# ---- values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.int64, np.float32),
        (np.uint8, np.float32),
        (bool, np.float32),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.longdouble, np.float64),
        (np.complex64, np.complex64),
        (np.complex128, np.complex128),
        (np.clongdouble, np.complex128),
        (">f8", np.float64),
    ],
)
def test_floats(given, expected):
    assert as_floats(np.ones((2, 2), given)).dtype == expected


def test_flags():
    np.testing.assert_array_equal(as_flags([1, 0]), [True, False])
    np.testing.assert_array_equal(as_flags([1.0, 0.0]), [True, False])
    for wrong in ([0.5, 1], [np.nan, 1], [2, 0], [-1, 1]):
        with pytest.raises(ProblemError, match="expected true where there is data"):
            as_flags(wrong)
    with pytest.raises(ProblemError, match="expected numbers"):
        as_flags("yes")


def test_values_that_are_no_numbers():
    for wrong in (None, "abc", object(), {"a": 1}, np.array(["2020-01-01"], dtype="datetime64[D]"), [[1], [2, 3]]):
        with pytest.raises(ProblemError, match="expected"):
            as_numbers(wrong)


def test_masked_arrays_keep_their_mask():
    found = unmask(open_container(np.ma.masked_equal([1, 2, 3], 2)))
    np.testing.assert_array_equal(found, [1, np.nan, 3])
    np.testing.assert_array_equal(unmask(open_container(np.ma.masked_array([1.0, 2.0]))), [1, 2])
