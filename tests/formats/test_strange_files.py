"""Files of every kind in the list of readers, altered at random: a sentence each, or numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dichroic.formats import READERS
from reader_cases import FILES, faults_of

CASES = Path(__file__).parents[1] / "reader_cases.py"


@pytest.mark.parametrize("kind", READERS)
def test_altered_files_are_read_or_refused_in_a_sentence(kind, tmp_path):
    assert [fault for seed in range(12) for fault in faults_of(kind, seed, tmp_path)] == []


def test_every_kind_has_a_file():
    assert set(FILES) == set(READERS)


@pytest.mark.slow
def test_ten_thousand_altered_files():
    """In processes of their own, which a library in C may end."""
    count, step = int(os.environ.get("DICHROIC_FUZZ", "10000")), 500
    for first in range(0, count, step):
        command = [sys.executable, str(CASES), str(first), str(step)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)  # a reader may never come back
        assert done.returncode == 0, done.stdout + done.stderr[-300:]
