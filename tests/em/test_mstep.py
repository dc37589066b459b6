"""What an M-step does with a denoiser before anything is drawn with it."""

from unittest.mock import Mock

import equinox as eqx
import jax
import numpy as np
import pytest

from dichroic.diffusion import DenoiserPrior, NetworkDenoiser, Schedule
from dichroic.em.mstep import _spread
from dichroic.em.state import Lap
from dichroic.settings import preset

V = 0.25


class Turned(eqx.Module):
    """What a network is to say of a Gaussian of variance `V`, or the opposite."""

    sign: float = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True, default=(2,))

    def __call__(self, u, sigma, key=None):
        return self.sign * (1 + sigma**2) / sigma * (V / (V + sigma**2) - 1 / (1 + sigma**2)) * u


def test_an_anti_denoiser_is_refused_before_anything_is_drawn():
    draws = V**0.5 * np.random.default_rng(0).normal(size=(256, 2))
    lap = Mock(spec=Lap)
    lap.priors = {"x": DenoiserPrior(NetworkDenoiser(Turned(1.0), None), Schedule(1e-1, 10.0))}
    lap.state = Mock(held_out_draws={})
    lap.context = Mock(config=preset("standard", {"training": {"objective": "lifted_denoising"}}))
    with pytest.raises(ValueError, match="wrong sign"):
        _spread(NetworkDenoiser(Turned(-1.0), None), lap, "x", draws, jax.random.key(0))
