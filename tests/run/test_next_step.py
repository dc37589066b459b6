"""Commands that are advised are such as a shell takes."""

import shlex
from pathlib import Path

import pytest

from dichroic.run import Run, RunError
from dichroic.run.next_step import command


@pytest.mark.parametrize("name", ["run", "my run", "a'b", 'a"b', "$(touch x)", "-x; rm y", "a\nb", "é*"])
def test_folders_of_any_name(tmp_path, name):
    folder = tmp_path / name
    assert shlex.split(command("resume", folder)) == ["dichroic", "resume", str(folder)]
    with pytest.raises(RunError) as caught:
        Run(folder)
    assert shlex.split(str(caught.value).partition("start one with: ")[2])[-1] == str(folder)
    assert command("report", Path("run")) == "dichroic report run"
