"""Operators refuse parameters that cannot be meant."""

import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import Convolve, FourierSample, PerSample
from dichroic.operators import BlockProject


def test_block_project_knows_its_factors():
    with pytest.raises(ValueError, match="factor 3 is not one of"):
        BlockProject(3, (1, 2), (4, 4))
    with pytest.raises(ValueError, match="factor 4 is not one of"):
        PerSample(BlockProject(np.array([1, 2, 4]), (1, 2), (4, 4)))
    BlockProject(2, (1, 2), (4, 4))


def test_convolve_wants_a_centred_kernel():
    with pytest.raises(ValueError, match="odd sides"):
        Convolve(np.ones((2, 3)), (4, 4))(jnp.ones((4, 4)))


def test_fourier_mask_fits_the_input():
    with pytest.raises(ValueError, match="does not fit"):
        FourierSample(np.ones((3, 3)), (4, 4))(jnp.ones((4, 4)))
