"""Several devices give what one gives, and wait for nothing in an E-step."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from devices_cases import N, found
from dichroic.devices import own_rows, total, whole

CASES = Path(__file__).with_name("devices_cases.py")


@pytest.fixture(scope="module")
def alone():
    return found()


@pytest.mark.parametrize("devices", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_several_devices_draw_and_train_what_one_does(devices, alone, tmp_path):
    assert N % devices  # the last batch is filled up
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, str(CASES), str(tmp_path / "found.npz")]
    subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, check=True)
    with np.load(tmp_path / "found.npz") as several:
        assert several["devices"] == devices
        # of the one program that serves all draws
        assert several["partitions"].tolist() == [devices] and several["collectives"].tolist() == [0]
        for name in set(alone) - {"partitions"}:
            x = alone[name]
            scale = max(np.abs(x).max(), 1)
            np.testing.assert_allclose(several[name], x, atol=1e-6 * scale, rtol=0, err_msg=name)


def test_a_single_device_has_everything():
    rows, counts = own_rows(5)
    np.testing.assert_array_equal(rows, np.arange(5))
    assert counts.all() and whole(5) == 5 and jax.device_count() == 1
    assert total(jnp.float32(3)) == 3
