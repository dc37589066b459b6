"""Trials of settings: what is tried, what is advised, and that nothing but the time changes."""

import json
import tomllib

import jax
import numpy as np
import pytest

from dichroic import Problem, Source, View
from dichroic.cli import main
from dichroic.diffusion import UNetConfig
from dichroic.plan import try_settings, tuning
from dichroic.plan.timing import BatchTime, Line
from dichroic.problem import ProblemError
from run_cases import tiny_config, tiny_problem, write_tiny

UNET = {"kind": "unet", "channels": [4], "blocks": [1], "heads": [0], "embedding": 4}


@pytest.fixture
def priced(monkeypatch):
    """Times that are made up: a second a batch and a hundredth per observation in it; one batch is too large."""

    class State:
        priors = dict.fromkeys(("sky", "star"))

    def draws(view, priors, config, key):
        if config.sampling.batch == 32:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        seconds = Line(1 + 0.01 * config.sampling.batch, 0.0)
        return BatchTime(seconds, seconds, seconds, config.sampling.batch, 0.0)

    def training(stage, priors, config, key, found):
        slow = config.network.kind == "unet" and config.network.convolution == "library"
        found.train[stage.name] = (0.5 if config.precision == "bfloat16" else 1.0) * (4 if slow else 1)
        return {}

    monkeypatch.setattr(tuning, "time_closed_form", lambda *_: State())
    monkeypatch.setattr(tuning, "time_draws", draws)
    monkeypatch.setattr(tuning, "time_training", training)


def test_batches_around_the_one_of_the_settings_are_tried(priced):
    trials = [t for t in try_settings(tiny_problem(), tiny_config()) if "sampling" in t.settings]
    assert [t.settings["sampling"]["batch"] for t in trials] == [8, 16, 32, 48]  # no more than there are observations
    assert [t.current for t in trials] == [False, True, False, False]
    # two views of 48 observations each
    assert [t.seconds for t in trials] == [pytest.approx(2 * 6 * 1.08), pytest.approx(2 * 3 * 1.16), None, 2 * 1.48]


def test_an_mlp_has_a_precision_to_choose_and_a_u_net_a_route_too(priced):
    config = tiny_config()
    assert [t.settings for t in try_settings(tiny_problem(), config) if "precision" in t.settings] == [
        {"precision": "float32"},
        {"precision": "bfloat16"},
    ]
    images = Problem({"sky": Source((4, 4, 1))}, {"empty": View(np.zeros((16, 4, 4, 1)), {"sky": 1.0}, 0.1)})
    trials = [t for t in try_settings(images, tiny_config(network=UNET)) if "precision" in t.settings]
    routes = [(t.settings["precision"], t.settings["network"]["convolution"], t.seconds, t.current) for t in trials]
    assert routes == [
        ("float32", "explicit", 1.0, jax.default_backend() == "cpu"),
        ("float32", "library", 4.0, jax.default_backend() != "cpu"),
        ("bfloat16", "explicit", 0.5, False),
        ("bfloat16", "library", 2.0, False),
    ]


def test_other_failures_are_not_taken_for_a_lack_of_memory(priced, monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(tuning, "time_draws", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        try_settings(tiny_problem(), tiny_config())


def test_nothing_to_learn_is_an_error(priced, monkeypatch):
    monkeypatch.setattr(tuning, "known_priors", lambda *_: dict.fromkeys(("sky", "star")))
    with pytest.raises(ProblemError, match="nothing to learn"):
        try_settings(tiny_problem(), tiny_config())


def test_command_prints_what_to_write_down(priced, tmp_path, capsys):
    write_tiny(tmp_path)
    assert main(["plan", str(tmp_path), "--tune", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "out of memory" in out and "sampling.batch = 16 (now)" in out
    advice = out[out.index("under [fit]") :]
    assert "sampling.batch = 48" in advice and 'precision = "bfloat16"' in advice
    assert main(["plan", str(tmp_path), "--tune", "--quiet", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 6


def test_settings_are_lines_of_a_table():
    settings = {"precision": "bfloat16", "network": {"kind": "unet", "convolution": "library"}}
    lines = tuning.as_toml(settings)
    assert lines == ['precision = "bfloat16"', 'network.convolution = "library"']
    assert tomllib.loads("\n".join(lines)) == {"precision": "bfloat16", "network": {"convolution": "library"}}


@pytest.mark.slow
def test_trials_of_a_tiny_problem_run():
    trials = try_settings(tiny_problem(), tiny_config())
    assert len(trials) == 6 and all(t.seconds is not None and t.seconds > 0 for t in trials)


def test_a_route_of_convolutions_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="convolution"):
        UNetConfig.model_validate({"convolution": "fast"})
