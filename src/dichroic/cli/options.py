"""Arguments and options that several commands have, each with its help."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.validators import Number

__all__ = [
    "Conditions",
    "Count",
    "CountOrNone",
    "Flag",
    "Folder",
    "Hosts",
    "Json",
    "Overwrite",
    "ProblemPath",
    "Quiet",
    "Report",
    "Seed",
    "Track",
    "Words",
    "whole_number",
]


def whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number; 2.5 is none, and not taken for 2."""
    return int(tokens[0].value)


Count = Annotated[int, Parameter(converter=whole_number, validator=Number(gte=1))]
CountOrNone = Annotated[int, Parameter(converter=whole_number, validator=Number(gte=0))]
Seed = Annotated[int, Parameter(converter=whole_number, validator=Number(gte=0, lt=1 << 63))]

Folder = Annotated[Path, Parameter(help="The run folder.")]
ProblemPath = Annotated[Path, Parameter(help="The problem file, or its folder.")]

Flag = Annotated[bool, Parameter(negative="")]
Words = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]


@Parameter(name="*")
@dataclass(frozen=True)
class Conditions:
    """What a command works under."""

    allow_code: Flag = False
    """Run the Python functions that a problem file names."""
    memory: str | None = None
    """A budget of memory, such as 2GB: what is larger lies in files."""


@Parameter(name="*")
@dataclass(frozen=True)
class Hosts(Conditions):
    """The same, and which processes work together; each of them is started with the same command."""

    distributed: str | None = None
    """HOST:PORT of process 0, which all processes reach, or slurm within a job step: work together with others."""
    processes: Annotated[int | None, Parameter(converter=whole_number)] = None
    """With --distributed HOST:PORT: how many processes there are."""
    process: Annotated[int | None, Parameter(converter=whole_number)] = None
    """With --distributed HOST:PORT: which one this is, from 0."""


Json = Annotated[bool, Parameter(negative="", help="Print the result as JSON.")]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace what is there.")]
Quiet = Annotated[bool, Parameter(name=("--quiet", "-q"), negative="", help="No progress.")]
Track = Annotated[
    tuple[str, ...],
    Parameter(help="Send the numbers of every lap to tensorboard, mlflow or wandb.", consume_multiple=True),
]
Report = Annotated[bool, Parameter(help="Write the report at the end.")]
