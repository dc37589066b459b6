"""`dichroic fit`, whose flags are made from the settings."""

from pathlib import Path
from typing import Literal

from cyclopts import App, Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.flags import flags_of, given
from dichroic.cli.options import Hosts, Json, ProblemPath, Quiet, Report, Track
from dichroic.cli.progress import meter
from dichroic.cli.session import finish, resumable
from dichroic.settings import settle

__all__ = ["fit_app"]


def fit_app() -> App:
    """The command, with a flag for every setting that there is when this is called."""
    from dichroic.settings import PRESETS, PUBLISHED, FitConfig

    Preset = Literal[tuple([*PRESETS, *PUBLISHED])]  # pyright: ignore
    Flags = Parameter(name="*")(flags_of(FitConfig))
    app = App(name="dichroic fit", suppress_keyboard_interrupt=False, version_flags=())

    @app.default
    def fit(
        problem: ProblemPath,
        *,
        out: Path | None = None,
        preset: Preset | None = None,  # pyright: ignore
        report: Report = True,
        quiet: Quiet = False,
        json: Json = False,
        conditions: Hosts | None = None,
        track: Track = (),
        settings: Flags | None = None,  # pyright: ignore
    ) -> int:
        """Learn every source of a problem. A run that was started in the same folder is continued.

        Flags come before the table [fit] of the problem file, that before the preset.

        Parameters
        ----------
        out
            The run folder (default: a new one under runs/).
        preset
            How much work: draft for a first look, standard, or final; or a published method, such as diem.
        """
        prepare(conditions)
        from dichroic.cli.output import announce_device
        from dichroic.hosts import told
        from dichroic.problem import load_problem
        from dichroic.run import RunFolder
        from dichroic.run import fit as fit_problem
        from dichroic.run.free_folder import free_folder

        loaded = load_problem(problem)
        flags = given(settings) if settings is not None else {}
        config = settle(flags, loaded.fit, preset)
        folder = out if out is not None else Path(told(str(free_folder(loaded.problem.title))))
        # a run that was started with flags goes on with them, without their being said again
        going_on = RunFolder(folder).exists and not flags and preset is None
        with meter(quiet) as progress, resumable(folder):
            announce_device(progress)
            if going_on and config != RunFolder(folder).config():
                progress.say("going on with the settings that the run was started with")
            run = fit_problem(
                loaded.problem,
                None if going_on else config,
                out=folder,
                held_out=loaded.held_out,
                frozen=loaded.frozen,
                start=loaded.start,
                progress=progress,
                source_file=loaded.path,
                track=track,
            )
        return finish(run, report, json)

    return app
