"""Stretches of a record as spectrograms and sound, and the power of residuals."""

import base64
import re
import wave
from io import BytesIO

import numpy as np

from dichroic.formats import Axis, Labels, Windows
from dichroic.report.material import Separated
from dichroic.report.residual_figures import power_by_frequency
from dichroic.report.series import series_figures
from report_cases import make_problem


def test_sound_can_be_played():
    problem, windows = make_problem((64,)), Windows.over([(12 * 64,)], (64,), (64,))
    labels = Labels(axes=(Axis("time", step=1 / 8000, unit="s"),), windows=windows)
    view, none = problem.views["mix"], np.zeros((12, 2), bool)
    samples = {s: np.repeat(x[:, None], 2, 1) for s, x in view.truth.items()}
    figures = series_figures(Separated("mix", samples, none, None, view, labels=labels), ["sky", "star"])
    assert [figure.title for figure in figures] == ["Spectra", "Spectrograms"]
    first = base64.b64decode(re.findall(r'src="data:audio/wav;base64,([^"]+)"', figures[1].body)[0])
    with wave.open(BytesIO(first)) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 12 * 64)
        x = np.frombuffer(sound.readframes(12 * 64), "<i2")
    assert np.corrcoef(x, view.y.ravel())[0, 1] > 0.9999


def test_white_residuals_have_power_one_at_all_frequencies():
    rng = np.random.default_rng(0)
    for shape in ((64,), (16, 16), (16, 16, 3)):
        observed = rng.random((300, *shape)) < 0.8
        r = np.where(observed, rng.normal(size=(300, *shape)), 0)
        frequency, power, terms = power_by_frequency(r, observed)
        assert (np.abs(power - 1) < 4.5 / np.sqrt(terms)).all() and frequency.max() <= 0.71
    z = rng.normal(size=(300, 64)) + 1j * rng.normal(size=(300, 64))
    _, power, terms = power_by_frequency(z, np.ones(z.shape, bool))
    assert (np.abs(power - 1) < 4.5 / np.sqrt(terms)).all()
    tone = np.cos(2 * np.pi * 0.25 * np.arange(64) + rng.uniform(0, 6, (300, 1)))
    frequency, power, _ = power_by_frequency(rng.normal(size=(300, 64)) + tone, np.ones((300, 64), bool))
    assert abs(frequency[power.argmax()] - 0.25) < 0.02 and power.max() > 5
