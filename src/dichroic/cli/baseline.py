"""`dichroic baseline`: a classical method on a problem file, scored as a run is."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.options import Conditions, CountOrNone, Flag, Json, ProblemPath, Seed

__all__ = ["baseline"]


def baseline(
    name: str,
    problem: ProblemPath,
    *,
    out: Path | None = None,
    set: Annotated[list[str] | None, Parameter(name=("--set", "-s"), negative="")] = None,
    draws: CountOrNone = 8,
    seed: Seed = 0,
    overwrite: Flag = False,
    report: bool = True,
    json: Json = False,
    conditions: Conditions | None = None,
) -> int:
    """Fit a classical method to a problem, and separate its held-out observations.

    Parameters
    ----------
    name
        The method: pcpca, cpca, clvm-linear, clvm-vae, wiener, fastica, nmf, mean-subtraction, border-median or
        stationary-wiener.
    out
        A folder for the fitted method and its separation (default: nothing is kept).
    set
        A setting of the method, such as gamma=0.4 or network.kind=conv; as often as wanted.
    draws
        Posterior draws of every observation; 0 for posterior means. Methods without a posterior give point estimates.
    seed
        Seed of the fit and of the draws.
    overwrite
        Replace what is in the folder.
    report
        Write a report into the folder.
    """
    prepare(conditions)
    from dichroic.baselines import BASELINES
    from dichroic.cli.messages import say
    from dichroic.cli.output import print_json, show_views
    from dichroic.em import split
    from dichroic.faults import among
    from dichroic.problem import load_problem
    from dichroic.run import RunError
    from dichroic.run.summary import view_scores
    from dichroic.settings import SettingsError, settle

    if name not in BASELINES:
        raise SettingsError(f"no baseline '{name}'; there are: {among(name, BASELINES)}")
    cls = BASELINES[name]
    if out is not None and (out / "baseline.json").exists() and not overwrite:
        raise RunError(f"{out} holds a fitted baseline already; choose another folder, or say --overwrite")
    loaded = load_problem(problem)
    config = _configure(cls.Config, set or [])
    kept, held_out = split(loaded.problem, loaded.held_out, settle({}, loaded.fit))
    fitted = cls.fit(kept, config, seed)
    if out is not None:
        fitted.save(out)
    store = None if out is None else out / "separated.zarr"
    observed = kept if held_out is None else held_out
    found = fitted.separate(observed, draws=draws, seed=seed, out=store, overwrite=overwrite)
    views = view_scores(found, observed)
    written = None
    if out is not None and report:
        from dichroic.report.baseline import write_baseline_report

        written = out / "report.html"
        chosen = {**fitted.config.model_dump(mode="json", exclude_none=True), "seed": seed}
        write_baseline_report(cls.title, chosen, observed, found, written, held_out=held_out is not None)
    if json:
        where = {"out": out and str(out), "report": written and str(written)}
        print_json({"baseline": name, **where, "point": found.point, "views": views})
        return 0
    what = "point estimates" if found.point else f"{draws} draws"
    where = "Held-out observations" if held_out is not None else "Observations of the fit, for none are held out"
    show_views(f"{where}: {cls.title}, {what}", views)
    if out is not None:
        say(f"baseline: {out}")
    if written is not None:
        say(f"report:   {written}")
    return 0


def _configure(config: Any, pairs: list[str]) -> Any:
    """Settings from `key=value`, with values as in TOML and dots for tables.

    **Raises:** `SettingsError`, with a line for every unknown or impossible setting.
    """
    import tomllib

    from pydantic import ValidationError

    from dichroic.settings import SettingsError, faults

    given: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise SettingsError(f"--set: expected key=value, got {pair!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text  # words need no quotes
        *tables, last = key.split(".")
        table = given
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise SettingsError(f"--set: '{name}' is given a value, and is a table in {pair!r}")
        table[last] = value
    if isinstance(given.get("network"), dict):
        given["network"].setdefault("kind", "mlp")
    try:
        return config.model_validate(given)
    except ValidationError as error:
        raise SettingsError(faults(config, given, error)) from None
