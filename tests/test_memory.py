"""Under a budget of memory results are what they are without one, and what is large lies in files."""

import h5py
import jax
import numpy as np
import pytest
import zarr

from dichroic import memory
from dichroic.faults import ProblemError
from dichroic.operators import Dense, PerSample
from dichroic.posterior import read_method
from dichroic.problem import Problem, Source, View, load_problem
from dichroic.run import separate
from dichroic.run.known import known_priors

N, M, D = 600, 4, 3


@pytest.fixture
def little(monkeypatch):
    """A budget of which a block has 4 kB."""
    monkeypatch.setattr(memory, "_budget", 32 << 12)


@pytest.mark.parametrize("said, size", [("2GB", 2_000_000_000), ("1.5 GiB", 3 << 29), (10**9, 10**9), (None, None)])
def test_sizes(said, size, monkeypatch):
    monkeypatch.setattr(memory, "_budget", None)
    memory.limit(said)
    assert memory.budget() == size


@pytest.mark.parametrize("said, words", [("much", "such as 2GB"), ("2 QB", "such as 2GB"), ("100MB", "at least 512MiB")])
def test_what_is_no_budget(said, words):
    with pytest.raises(ProblemError, match=words):
        memory.limit(said)


def in_file(x: np.ndarray) -> bool:
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return not isinstance(x, np.ndarray)


def test_arrays_beyond_their_share_lie_in_files(little):
    x = np.arange(3000.0).reshape(1000, 3)
    assert not in_file(memory.empty((10, 3), float))
    assert not in_file(memory.rows(x, np.arange(10)))
    for found, expected in (
        (memory.rows(x, np.arange(999, -1, -1)), x[::-1]),
        (memory.rows(x, np.arange(1000) % 2 == 0), x[::2]),
        (memory.stacked([x, x]), np.concatenate([x, x])),
        (memory.by_rows(lambda a: 2 * a, x), 2 * x),
    ):
        assert in_file(found)
        np.testing.assert_array_equal(found, expected)
    assert max(b.stop - b.start for b in memory.blocks(1000, 24)) == 170
    assert [(b.start, b.stop) for b in memory.blocks(2, 10**9)] == [(0, 1), (1, 2)]


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((N, M, D)).astype(np.float32)
    y = np.einsum("nij,nj->ni", A, rng.standard_normal((N, D))) + 0.1 * rng.standard_normal((N, M))
    y[rng.random((N, M)) < 0.1] = np.nan
    noise = rng.uniform(0.1, 0.2, (N, M)).astype(np.float32)
    noise[5, 2] = np.inf
    return {"y": y.astype(np.float32), "A": A, "noise": noise}


def in_memory() -> Problem:
    x = arrays()
    view = View(x["y"], {"s": PerSample(Dense(x["A"]))}, PerSample(x["noise"]))
    return Problem({"s": Source((D,))}, {"v": view})


@pytest.mark.parametrize("kind", ["plain.h5", "packed.h5", "all.zarr", "npy"])
def test_a_problem_is_read_from_any_file_as_it_is_in_memory(kind, little, tmp_path):
    for name, x in arrays().items():
        if kind.endswith("h5"):
            packed = {"chunks": (64, *x.shape[1:]), "compression": "gzip"} if kind == "packed.h5" else {}
            with h5py.File(tmp_path / kind, "a") as file:
                file.create_dataset(name, data=x, **packed)
        elif kind == "all.zarr":
            zarr.open_group(tmp_path / kind, mode="a").create_array(name, data=x, chunks=(64, *x.shape[1:]))
        else:
            np.save(tmp_path / name, x)
    said = {name: f"{name}.npy" if kind == "npy" else f"{kind}:{name}" for name in arrays()}
    (tmp_path / "problem.toml").write_text(
        f'[sources.s]\nshape = [{D}]\n[views.v]\ny = "{said["y"]}"\n'
        f'mixing.s = {{ dense = "{said["A"]}", per_sample = true }}\n'
        f'noise = {{ std = "{said["noise"]}", per_sample = true }}\n'
    )
    problem = load_problem(tmp_path / "problem.toml").problem
    view = problem.views["v"]
    assert all(map(in_file, (view.y, view.noise.value.std, view.mixing["s"].value.matrix)))
    held = problem.split(0.5)
    memory.limit(None)
    assert problem.fingerprint() == in_memory().fingerprint()
    for part, other in zip(held, in_memory().split(0.5), strict=True):
        assert part.fingerprint() == other.fingerprint()


@pytest.mark.parametrize("method", [{"kind": "closed_form"}, {"kind": "annealed", "steps": 2}], ids=lambda m: m["kind"])
def test_blocks_are_drawn_as_the_whole_is(method, monkeypatch, tmp_path):
    problem = in_memory()
    priors = known_priors({"s": {"gaussian": {"mean": np.zeros(D), "covariance": np.eye(D)}}}, problem)
    key, sampling = jax.random.key(0), read_method(method)
    expected = separate(problem, priors, key=key, draws=2, sampling=sampling, share=1.0)
    monkeypatch.setattr(memory, "_budget", 32 << 14)
    found = separate(problem, priors, key=key, draws=2, sampling=sampling, share=1.0, out=tmp_path / "found.zarr")
    memory.limit(None)
    for name, x in expected.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], x, rtol=1e-4, atol=1e-5, err_msg=name)
