"""Problem files from strangers, and damaged ones: nothing runs unasked, or is allocated on a word; no traceback."""

import json
import os
import time

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import zarr

from dichroic.operators import take
from dichroic.problem import ProblemError, allow, load_problem

N, D = 6, 4
Y = np.random.default_rng(0).normal(size=(N, D))
TEXT = '[sources.s]\nshape = [4]\n[views.v]\ny = "{}"\nnoise = {}\nmixing.s = {}\n'


@pytest.fixture
def load(tmp_path):
    def load(y="y.npy", noise="0.1", mixing="1.0", **options):
        np.save(tmp_path / "y.npy", Y)
        (tmp_path / "p.toml").write_text(TEXT.format(y, noise, mixing))
        return load_problem(tmp_path / "p.toml", **options).problem

    return load


@pytest.fixture
def fault(load):
    def fault(*args, **options):
        with pytest.raises(ProblemError) as caught:
            load(*args, **options)
        return str(caught.value)

    return fault


# ---- code


def test_functions_run_only_where_that_is_allowed(load, fault, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef f(x, p): return x\n"
    )
    function = '{ function = "mine.py:f" }'
    assert "--allow-code (in Python: load_problem(..., allow_code=True))" in fault(mixing=function)
    with allow(True):
        assert "runs only where you allow it" in fault(mixing=function, allow_code=False)
    assert not (tmp_path / "ran").exists()
    load(mixing=function, allow_code=True)
    assert (tmp_path / "ran").exists()
    with allow():
        load(mixing=function)
    assert "runs only where you allow it" in fault(mixing=function)


@pytest.mark.parametrize("allowed", [False, True])
def test_functions_stay_in_the_folder(fault, tmp_path, allowed, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "mine.py").write_text("raise SystemError('it ran')\n")
    (tmp_path / "link.py").symlink_to(other / "mine.py")
    for file in (other / "mine.py", f"../{other.name}/mine.py", "link.py"):
        assert "outside of the folder" in fault(mixing=f'{{ function = "{file}:f" }}', allow_code=allowed)


# ---- text


def test_byte_order_marks(load, tmp_path):
    load()
    text = (tmp_path / "p.toml").read_text()
    for content in (b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode(), text.encode("utf-8-sig")):
        (tmp_path / "p.toml").write_bytes(content)
        assert list(load_problem(tmp_path / "p.toml").problem.views) == ["v"]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "p.toml").write_bytes(text.encode(encoding))
        with pytest.raises(ProblemError, match=r"^'p.toml' is written in UTF-16 .*; save it as UTF-8$"):
            load_problem(tmp_path / "p.toml")
    (tmp_path / "p.toml").write_bytes(text.replace("[sources.s]", "# Gr\xf6\xdfe\n[sources.s]").encode("latin-1"))
    with pytest.raises(ProblemError, match=r"'p.toml' is not UTF-8, at byte 4; save it as UTF-8"):
        load_problem(tmp_path / "p.toml")
    (tmp_path / "p.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ProblemError, match="not valid TOML"):
        load_problem(tmp_path / "p.toml")


@pytest.mark.parametrize("name", ["~nosuchuser/x.npz:y", "~nosuchuser/x.npy", "x" * 5000 + ".npy", "a\\u0000b.npy"])
def test_names_that_no_file_has(fault, name):
    assert "view 'v': y: " in fault(y=name)


def test_problem_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for name, target in {"zero.toml": "/dev/zero", "round.toml": "round.toml", "nowhere.toml": "x.toml"}.items():
        (tmp_path / name).symlink_to(target)
    for name in ("pipe.toml", "zero.toml", "round.toml", "nowhere.toml"):
        with pytest.raises(ProblemError, match=f"'{name}' is no file, but a pipe, a device or a link"):
            load_problem(tmp_path / name)


def test_a_problem_in_nobodys_home():
    with pytest.raises(ProblemError, match="there is no such user"):
        load_problem("~nosuchuser/problem.toml")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("sigma = 0.1", "did you mean 'noise'?"),
        ("ivar = 0.1", "did you mean 'noise'?"),
        ("mask = 1", "did you mean 'observed'?"),
        ("psf = 1", "did you mean 'mixing'?"),
        ("data = 1", "did you mean 'y'?"),
    ],
)
def test_keys_by_what_others_call_them(tmp_path, line, hint):
    (tmp_path / "p.toml").write_text(TEXT.format("y.npy", 0.1, 1.0) + line + "\n")
    with pytest.raises(ProblemError) as caught:
        load_problem(tmp_path / "p.toml")
    assert hint in str(caught.value)


# ---- numbers beyond what is computed with


@pytest.mark.parametrize("noise", ["1e308", "1e-300", "1e37", "1e-40"])
def test_noise_beyond_single_precision(fault, noise):
    assert "is beyond what is computed with; use another unit" in fault(noise=noise)


@pytest.mark.parametrize(
    "mixing",
    ["1e300", "1e40", "1e-300", "{ scale = 1e308 }", "{ convolve = 1e308 }", "{ dense = [[1e99, 0, 0, 0]] }"],
)
def test_operators_beyond_single_precision(fault, mixing):
    assert "beyond what is computed with; use another unit" in fault(mixing=mixing)


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ("{ variance = -1.0 }", "variance: expected a positive number, got -1"),
        ("{ ivar = inf }", "ivar: expected a positive number, got inf"),
        ("{ weight = [1.0, -1.0, 1.0, 1.0] }", "got nan at entry (1,)"),
        ("[]", "expected one number or shape (4,), got shape (0,)"),
        ("{ std = [] }", "expected one number or shape (4,), got shape (0,)"),
        ("1" + 400 * "0", "got a whole number of more than 64 bits"),
        ("1" + 5000 * "0", "is not valid TOML"),
        ("{ factor = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]] }", "the matrix is singular"),
    ],
)
def test_noise_that_is_none(fault, noise, words):
    assert words in fault(noise=noise)


def test_whole_numbers_are_numbers(load, tmp_path):
    """Written without a point, or kept in 64 bits, of which JAX would drop half."""
    large = 5_000_000_000
    np.save(tmp_path / "g.npy", np.full(N, large))
    for mixing in (f"{large}", f"{{ scale = {large} }}", '{ scale = "g.npy", per_sample = true }'):
        view = load(mixing=mixing, noise=f"{large}").views["v"]
        x = np.asarray(take(view.mixing["s"], 0)(jnp.ones(D)))
        np.testing.assert_allclose(x, large, rtol=1e-6)


def test_an_adjoint_of_another_shape(fault, tmp_path):
    np.save(tmp_path / "m.npy", np.ones(D))
    assert "acts on shape (4,), but gets shape (1000000000,)" in fault(
        mixing='{ adjoint = { mask = "m.npy" }, shape = [1000000000] }'
    )
    assert "shape: expected a list of whole numbers" in fault(mixing="{ adjoint = 1.0 }")


@pytest.mark.parametrize("matrix", ["1", "1.5", "[1, 2, 3, 4]"])
def test_a_matrix_has_two_axes(fault, matrix):
    assert "dense: Dense: expected a matrix, shape (m, d), got shape" in fault(mixing=f"{{ dense = {matrix} }}")


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_any_usual_unit_will_do(load, tmp_path, unit):
    np.save(tmp_path / "u.npy", unit * Y)
    assert load(y="u.npy", noise=str(0.1 * unit)).views["v"].observed is None


# ---- stores


def test_zarr_objects_and_unknown_codecs_are_not_opened(load, fault, tmp_path):
    zarr.create_array(str(tmp_path / "y.zarr"), data=Y, chunks=(2, D))
    np.testing.assert_array_equal(load(y="y.zarr").views["v"].y, Y)
    old = tmp_path / "old.zarr"
    old.mkdir()
    meta = {
        "zarr_format": 2, "shape": [N, D], "chunks": [N, D], "dtype": "<f8", "compressor": None, "fill_value": 0.0,
        "order": "C", "filters": None,
    }  # fmt: skip
    (old / "0.0").write_bytes(Y.tobytes())
    (old / ".zarray").write_text(json.dumps(meta))
    np.testing.assert_array_equal(load(y="old.zarr").views["v"].y, Y)
    for change, words in [
        ({"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]}, "array of the type '|O'"),
        ({"filters": [{"id": "pickle"}]}, "the codec 'pickle' is not one that is read here"),
        ({"compressor": {"id": "msgpack2"}}, "the codec 'msgpack2'"),
        ({"dtype": [["a", "<f8"]]}, "expected numbers"),
    ]:
        (old / ".zarray").write_text(json.dumps({**meta, **change}))
        assert words in fault(y="old.zarr")
    group = tmp_path / "group.zarr"  # which says that it is an array, too
    group.mkdir()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    inner = {"x/.zarray": {**meta, "dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]}}
    (group / ".zmetadata").write_text(
        json.dumps({"zarr_consolidated_format": 1, "dtype": "<f8", "metadata": {".zgroup": {"zarr_format": 2}} | inner})
    )
    assert "array of the type '|O'" in fault(y="group.zarr:x")
    new = json.loads((tmp_path / "y.zarr" / "zarr.json").read_text())
    new["codecs"].append({"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}})
    (tmp_path / "y.zarr" / "zarr.json").write_text(json.dumps(new))
    assert "the codec 'numcodecs.pickle'" in fault(y="y.zarr")
    (tmp_path / "y.zarr" / "zarr.json").write_text("[" * 100_000)
    assert "is no JSON" in fault(y="y.zarr")


def _chunks(folder):
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "zarr.json"]


@pytest.mark.parametrize("shards", [None, (4, D)])
def test_a_missing_chunk_is_not_zeros(load, fault, tmp_path, shards):
    array = zarr.create_array(str(tmp_path / "y.zarr"), data=np.concatenate([Y, Y[:2]]), chunks=(2, D), shards=shards)
    assert array.fill_value == 0
    load(y="y.zarr")
    _chunks(tmp_path / "y.zarr")[0].unlink()
    assert "1 of " in (text := fault(y="y.zarr")) and "chunks are missing, which would read as 0.0" in text
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("a/y", data=Y, chunks=(2, D))
    load(y="g.zarr:a/y")
    next(
        p for p in sorted((tmp_path / "g.zarr" / "a" / "y").rglob("*")) if p.is_file() and p.name != "zarr.json"
    ).unlink()
    assert "1 of 3 chunks are missing" in fault(y="g.zarr:a/y")
    gaps = zarr.create_array(str(tmp_path / "n.zarr"), shape=(N, D), chunks=(2, D), dtype="f8", fill_value=np.nan)
    gaps[:2] = Y[:2]
    gaps[2:, 0] = 1.0
    load(y="n.zarr")


def test_hdf5_that_was_never_written(fault, tmp_path):
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("y", (N, D), "f8")
        file.create_dataset("parts", (N, D), "f8", chunks=(2, D))[:4] = 1.0
        file.create_dataset("big", (200_000_000, 4), "f8", chunks=(1000, 4), compression="gzip")
        file.create_dataset("text", (N, D), h5py.string_dtype())
        file.create_dataset("elsewhere", (N, D), "f8", external=[("raw.bin", 0, 8 * N * D)])
    assert "1 of 1 chunks were never written" in fault(y="y.h5:y")
    assert "1 of 3 chunks were never written, and would read as 0.0" in fault(y="y.h5:parts")
    assert "expected numbers, got objects" in fault(y="y.h5:text")
    assert "the values are in other files" in fault(y="y.h5:elsewhere")
    assert "declares 6.4 GB, but the file holds" in fault(y="y.h5:big")


def test_files_that_declare_more_than_they_hold(fault, tmp_path):
    begin = time.monotonic()
    zarr.create_array(str(tmp_path / "big.zarr"), shape=(200_000_000, 4), chunks=(200_000_000, 4), dtype="f8")
    assert "declares 6.4 GB" in fault(y="big.zarr")
    header = np.lib.format.magic(1, 0), b"{'descr': '<f8', 'fortran_order': False, 'shape': (200000000, 4), }"
    (tmp_path / "big.npy").write_bytes(header[0] + len(header[1]).to_bytes(2, "little") + header[1] + b"\0" * 80)
    assert "'big.npy' cannot be read as npy" in fault(y="big.npy")
    assert time.monotonic() - begin < 20


def test_what_is_deep_in_itself_is_read_or_refused(load):
    refused = []
    for depth in (50, 250, 350, 450, 2000):
        for deep in ("[" * depth + "1.0" + "]" * depth, "{ chain = [" * depth + "1.0" + "] }" * depth):
            try:
                load(mixing=deep)
            except ProblemError as error:
                refused.append(str(error))
    assert any("too deep in each other" in text for text in refused)
    assert all("too deep in each other" in text or "not valid TOML" in text for text in refused)
