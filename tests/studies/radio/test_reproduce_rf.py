"""`dichroic reproduce rf`: given priors, rates with their intervals, one table and one figure."""

import json

import pytest

from dichroic.cli import main
from dichroic.problem import load_problem
from dichroic.studies.radio import SIGNAL, interference
from dichroic.studies.radio.figure import shown_ratios
from dichroic.studies.reproduce import load_experiment


def test_the_experiment_says_the_priors_of_its_mixtures():
    priors = load_experiment("rf", "laptop").priors
    assert priors == {"signal": SIGNAL, "interference": interference()}


def test_two_ratios_are_shown_the_lowest_and_the_worst_of_the_others():
    at = [-3.0, -24.0, -12.0]
    assert shown_ratios(at, [0.0, 0.4, 0.1]) == [1, 2] and shown_ratios(at, [0.2, 0.0, 0.1]) == [1, 0]
    assert shown_ratios(at, [0.0, 0.0, 0.0])[0] == 1 and shown_ratios([-6.0], [0.1]) == [0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("rf")
    assert main(["reproduce", "rf", "--scale", "smoke", "--out", str(place), "--docs", str(place / "docs"), "-q"]) == 0
    return place


def test_a_table_of_rates_and_a_figure(place):
    (found,) = json.loads((place / "smoke" / "results.json").read_text())["experiments"]
    cells = {c["method"]: c for c in found["cells"]}
    assert all(c["status"] == "done" for c in cells.values()), cells
    far = {m: c["scores"]["SIR -24 dB/signal"] for m, c in cells.items()}
    low, rate, high = (far["alpha-rgs"]["ber"][end] for end in ("low", "estimate", "high"))
    assert low == rate == 0 < high < 0.03 and far["alpha-rgs"]["any_error"]["estimate"] == 0
    assert far["matched-filter"]["ber"]["low"] < 0.4004 < far["matched-filter"]["ber"]["high"]
    assert far["alpha-rgs"]["error_db"]["estimate"] < -40 < 0 < far["matched-filter"]["error_db"]["estimate"]
    table = (place / "docs" / "reproduce_smoke.inc").read_text()
    assert "| ratio of signal to interference (dB) | -24 | -12 |" in table and "| matched filter |" in table
    for name in ("smoke/rf.png", "docs/rf_smoke.png"):
        assert (place / name).stat().st_size > 10_000


def test_its_problem_file_is_separated_by_itself(place):
    loaded = load_problem(place / "smoke" / "rf" / "data" / "test")
    assert set(loaded.frozen) == set(loaded.problem.sources)
