"""`dichroic init`: a problem file to begin with, from the files there are."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.messages import say
from dichroic.cli.options import Json, Overwrite

__all__ = ["init", "write"]


def init(
    *,
    from_: Annotated[list[str] | None, Parameter(name=("--from", "-f"), negative="")] = None,
    like: Path | None = None,
    out: Path = Path("problem.toml"),
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Write a problem file for files of data: the first has one source alone, all others have one more over it.

    Of cells, one file will do where a column of theirs says which are controls.

    Parameters
    ----------
    from_
        A file, FILE:KEY or a pattern such as 'cut/*.fits', for a view; as often as there are views (default: they are
        asked for).
    like
        A problem file: write one beside it for other observations of the same sources, which --from names.
    out
        The problem file.
    """
    prepare()
    from dichroic.cli.output import print_json
    from dichroic.problem import ProblemError
    from dichroic.run.next_step import command

    if out.exists() and not overwrite:
        raise ProblemError([f"{out} is there already; choose another name, or say --overwrite"])
    found = write(from_ or ([] if like else _asked()), out, like)
    if json:
        print_json(found)
        return 0
    for what in found["guessed"]:
        say(f"guessed: {what}")
    then = command("check", out) if like is None else command("separate RUN", out)
    say(f"written: {out}\nlook at it, then: {then}")
    return 0


def _asked() -> list[str]:
    """Names of files, from whoever sits at the terminal."""
    from dichroic.problem import ProblemError

    files = []
    for line in (
        "File of observations of one source alone (such as empty.npy, sky.fits:SCI, 'sky/*.fits', music.wav): ",
        "File of observations with another source over it (empty line: none): ",
    ):
        try:
            answer = input(line).strip()
        except EOFError:
            raise ProblemError(["nobody answers; name the files: dichroic init --from FILE --from FILE"]) from None
        if answer:
            files.append(answer)
    return files


def write(files: list[str], out: Path, like: Path | None = None) -> dict[str, Any]:
    """Writes the problem file; of other observations of the problem in `like`, where one is named.

    **Returns** the views with their shapes, and what was guessed.

    **Raises:** `ProblemError` where a file cannot be read.
    """
    from dichroic.problem import ProblemError
    from dichroic.problem.drafting import draft, draft_like
    from dichroic.store import write as store

    if like is None:
        text, views, guessed = draft(files, out.absolute().parent)
    elif len(files) != 1:
        raise ProblemError([f"--like takes the file of other observations, --from FILE, once; got {len(files)}"])
    elif like.absolute().parent != out.absolute().parent:
        raise ProblemError([f"{out}: files are found from the folder of {like}; write it there"])
    else:
        (text, views), guessed = draft_like(like, files[0]), []
    store(out, text)
    return {"file": str(out), "views": views, "guessed": guessed}
