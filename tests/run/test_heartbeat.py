"""A run shows that it lives, to whoever looks at its folder."""

import json
import os
import time

from dichroic.cli.status import describe
from dichroic.run.heartbeat import Heartbeat, life_of
from dichroic.run.progress import Quiet


def test_a_run_lives_until_it_ends(tmp_path):
    assert life_of(tmp_path) is None
    beat = Heartbeat(Quiet(), tmp_path)
    beat.advance(0.25, "draw both")
    beat.advance(0.5, "draw both", 30.0)  # reckoned by the same rule as on the terminal, which waits some seconds
    beat._write()
    life = life_of(tmp_path)
    assert life is not None and not life.stale and life.process == os.getpid()
    assert (life.fraction, life.what) == (0.5, "draw both") and 0 < life.left <= 30
    beat.close()
    assert life_of(tmp_path) is None and not list(tmp_path.iterdir())


def test_a_run_that_was_killed_is_stale(tmp_path):
    beat = Heartbeat(Quiet(), tmp_path)
    beat._stop.set()
    file = next(tmp_path.iterdir())
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "host": "elsewhere"}))
    assert not life_of(tmp_path).stale  # nobody can ask for its process
    os.utime(file, (old := time.time() - 600, old))
    assert life_of(tmp_path).stale and life_of(tmp_path).age > 590
    file.write_text(json.dumps({**said, "process": 2**22 + 1}))  # one that is not there
    assert life_of(tmp_path).stale
    file.write_text("{")
    assert life_of(tmp_path) is None


def test_status_says_whether_a_run_lives(tmp_path):
    from dichroic.run import RunFolder
    from run_cases import tiny_config

    folder = tmp_path / "run"
    folder.mkdir()
    empty = {"file": None, "fingerprint": "f", "held_out": None, "frozen": {}, "sources": {}, "views": {}}
    RunFolder(folder).create(tiny_config(), {"title": "T", **empty}, {})
    assert describe(folder)["state"] == "just begun" and describe(folder)["life"] is None
    beat = Heartbeat(Quiet(), folder)
    try:
        found = describe(folder)
        assert found["state"] == "alive" and found["life"]["host"] and not found["life"]["stale"]
    finally:
        beat.close()


def test_a_forged_sign_of_life_is_none(tmp_path):
    Heartbeat(Quiet(), tmp_path)._stop.set()
    file = tmp_path / ".alive.json"
    said = json.loads(file.read_text())
    assert life_of(tmp_path) is not None
    for forged in ({"process": "x"}, {"fraction": None}, {"what": ["x"]}, {"left": "soon"}, {"host": 1}):
        file.write_text(json.dumps({**said, **forged}))
        assert life_of(tmp_path) is None
