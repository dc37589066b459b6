"""Several devices give what one gives, and wait for nothing in an E-step."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from devices_cases import SHAPES, N, found, given
from dichroic.algebra import Info
from dichroic.devices import own_rows, total, whole
from dichroic.diffusion import TrainingConfig, train
from dichroic.posterior import batched, observation_keys

train_module = sys.modules[train.__module__]
CASES = Path(__file__).with_name("devices_cases.py")


@pytest.fixture(scope="module")
def alone():
    return found()


def run(devices: int, file: Path, *arguments: str) -> dict[str, np.ndarray]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, str(CASES), str(file), *arguments]
    subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, check=True)
    with np.load(file) as found:
        assert found["devices"] == devices
        return dict(found)


@pytest.mark.slow
def test_observations_that_grow_with_the_devices_cost_each_of_them_the_same(tmp_path):
    """What a machine of devices in name alone can say: counts, not times. No collective is in it, see above."""
    one, eight = (run(devices, tmp_path / f"{devices}.npz", "64", "512") for devices in (1, 8))
    for name in sorted(set(one) - {"devices"}):
        np.testing.assert_allclose(eight[name], one[name], rtol=0.02, err_msg=name)
    assert one["flops of 64"] < one["flops of 512"] <= 8 * one["flops of 64"]  # what they share counts once


@pytest.mark.parametrize("devices", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_several_devices_draw_and_train_what_one_does(devices, alone, tmp_path):
    assert N % devices  # the last batch is filled up
    several = run(devices, tmp_path / "found.npz")
    # of the one program that serves all draws
    assert several["partitions"].tolist() == [devices] and several["collectives"].tolist() == [0]
    for name in (name for name in alone if name != "partitions" and "digit" not in name):
        # some draws, of badly conditioned observations, make much of the last digit of the data: so they do of rounding
        x, digit = alone[name], alone.get(f"digit of {name}", 0)
        rounding = 1e-6 * max(np.abs(x).max(), 1) + 4 * digit
        assert (np.abs(several[name] - x) <= rounding).all(), name


def test_a_single_device_has_everything():
    rows, counts = own_rows(5)
    np.testing.assert_array_equal(rows, np.arange(5))
    assert counts.all() and whole(5) == 5 and jax.device_count() == 1
    assert total(jnp.float32(3)) == 3


def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch):
    tried = []

    def draw(sampler, scalings, observations, previous, warm, keys, static):
        tried.append(len(keys))
        if len(keys) > 16:
            raise MemoryError if len(keys) == 32 else jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        y = np.asarray(observations.y.value)[:, 0]
        x = {s: np.broadcast_to(y[:, None], (len(y), *shape)) for s, shape in SHAPES.items()}
        info = jax.tree.map(lambda a: np.broadcast_to(a, len(y)), Info.none())
        return jax.tree.map(jax.device_put, (x, info, y))

    _, bound = given()
    monkeypatch.setattr(batched, "_draw", draw)
    with pytest.warns(UserWarning, match="out of memory: going on with") as said:
        drawn = bound.draw(observation_keys(jax.random.key(0), N))
    assert [str(warning.message).split()[6] for warning in said] == ["32", "16"]
    assert tried == [64, 32, 16, 16, 16]
    np.testing.assert_array_equal(drawn.samples["a"][:, 0], bound.view.y[:, 0])


def test_training_that_runs_out_of_memory_takes_half_the_block_and_says_so(monkeypatch):
    priors, _ = given()
    prior, x = priors["a"], np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32)
    original, tried = train_module._run, []

    def run(fixed, state):
        config = fixed[-2]
        tried.append(config.batch // config.blocks(None))
        if tried[-1] > 7:
            jax.tree.map(lambda a: a.delete() if isinstance(a, jax.Array) else None, state)  # it was given away
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(fixed, state)

    def trained(**settings) -> np.ndarray:
        config = TrainingConfig(steps=5, batch=21, **settings)
        found, _ = train(prior.denoiser(), prior.schedule, x, config, key=jax.random.key(3))
        return np.concatenate([np.ravel(a) for a in jax.tree.leaves(found) if isinstance(a, jax.Array)])

    expected = trained(block=7)
    monkeypatch.setattr(train_module, "_run", run)
    with pytest.warns(UserWarning, match="out of memory: training with 10 samples"):
        np.testing.assert_array_equal(trained(), expected)
    assert tried[0] == 21 and set(tried[1:]) == {7}
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE"):
        trained()


def test_other_failures_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def draw(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    _, bound = given()
    monkeypatch.setattr(batched, "_draw", draw)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        bound.draw(observation_keys(jax.random.key(0), N))
