"""The page of what a run survives names a test for everything, and every test it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "survival.md"


def test_every_row_names_a_test_that_exists():
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith("| ")][1:]
    named = [re.search(r"`(tests/[\w/]+\.py)::(test_\w+)`( \(slow\))?", row) for row in rows]
    assert len(rows) > 20 and all(named)
    for found in named:
        file, test, slow = found.groups()
        before, _, _ = (ROOT / file).read_text().partition(f"def {test}(")
        assert f"def {test}(" in (ROOT / file).read_text(), test
        marks = before.rpartition("\n\n\n")[2]
        assert ("@pytest.mark.slow" in marks) == bool(slow), test
