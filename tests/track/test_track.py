"""Trackers take the numbers of every lap, and never take a fit along when they fail."""

import sys
from pathlib import Path

import pytest

from dichroic.faults import ProblemError
from dichroic.track import TRACKERS, Tracker, numbers_of, open_trackers

RECORD = {"lap": 2, "views": {"both": {"chi_square": 1.5, "tried": ["a"]}}, "score": float("nan"), "kept": True}


def test_numbers_of_a_record_are_named_by_their_path():
    assert numbers_of(RECORD) == {"lap": 2.0, "views/both/chi_square": 1.5}


class Library:
    """Any of the libraries: keeps what is called with what."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return self

        return call


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_takes_a_lap(name, monkeypatch, tmp_path):
    library, said = Library(), []
    for part in (module := TRACKERS[name].library[0]), module.split(".")[0]:
        monkeypatch.setitem(sys.modules, part, library)
    with open_trackers(TRACKERS, [name], tmp_path, {"laps": 3}, said.append) as log:
        log(4, RECORD)
    values = [repr(call) for call in library.calls]
    assert any("views/both/chi_square" in call and "1.5" in call and "4" in call for call in values)
    assert not said and len(values) >= 3  # begun, logged, ended


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, TRACKERS[name].library[0], None)
    with pytest.raises(ProblemError, match=f"pip install {TRACKERS[name].library[1]}"):
        TRACKERS[name]().load()


def test_an_unknown_tracker_is_refused_and_a_failing_one_left_alone(tmp_path):
    class Failing(Tracker):
        library = ("sys", "sys")

        def begin(self, folder: Path, settings):
            pass

        def log(self, lap, numbers):
            raise OSError("no connection")

        def close(self):
            raise AssertionError("closed though it had failed")

    said = []
    with open_trackers({"failing": Failing}, ["failing"], tmp_path, {}, said.append) as log:
        log(1, RECORD)
        log(2, RECORD)
    assert said == ["failing takes no more numbers: no connection"]
    Failing.begin = Failing.log
    with open_trackers({"failing": Failing}, ["failing"], tmp_path, {}, said.append) as log:
        log(1, RECORD)
    assert len(said) == 2
    with pytest.raises(ProblemError, match="did you mean 'failing'"):
        open_trackers({"failing": Failing}, ["faling"], tmp_path, {}, said.append).__enter__()
