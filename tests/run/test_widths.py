"""How wide draws of a learned posterior are beside their errors: what is measured, and what is said of it."""

import sys
from types import SimpleNamespace
from typing import Any, cast

import jax
import pytest
from scipy.stats import norm

from dichroic.law import MixturesConfig
from dichroic.run import Widths, widths
from dichroic.run.widths import widths_of


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_the_inflation_is_that_of_the_draws(width, monkeypatch, rng):
    truth = rng.normal(size=(400, 30))
    centre, module = truth + rng.normal(size=truth.shape), sys.modules["dichroic.run.widths"]
    monkeypatch.setattr(module, "new_pairs", lambda *_: (truth, None))
    monkeypatch.setattr(module, "draw_all", lambda *_: (centre + width * rng.normal(size=truth.shape), None))
    state = SimpleNamespace(pool=truth, regression=None, denoiser=None)
    contrast = SimpleNamespace(view="both", source="pulse")
    kept = widths_of(cast(Any, contrast), cast(Any, state), MixturesConfig(), key=jax.random.key(0))
    (found,) = widths([{"stage": "pulse", "lap": 1, "best_lap": 1, "widths": kept}])
    assert (found.view, found.source) == ("both", "pulse")
    assert found.inflation == pytest.approx(((1 + width**2 / 19) / (1 + 1 / 19)) ** 0.5 / width, rel=0.025)
    exact = [1 - 2 * norm.sf(width * norm.isf((1 - share) / 2)) for share in (0.5, 0.9)]
    # quantiles of 19 draws make up for their number only where draws are right
    assert [found.half, found.most] == pytest.approx(exact, abs=0.02 if width == 1 else 0.06)


def test_what_is_said_of_an_inflation():
    sentence = Widths("both", "pulse", 1.3, 0.45, 0.86).sentence
    assert "errors are 1.30 times the posterior deviation" in sentence and "hold 45% and 86% of the truth" in sentence
    assert "take deviations 2.0 times as large" in sentence  # half as much again


def test_other_fits_say_nothing_of_widths():
    assert widths([]) == widths([{"stage": "joint", "lap": 0, "best_lap": 0}]) == []
