"""The results as Markdown: for every experiment what the paper says, and what was measured here."""

from collections.abc import Mapping, Sequence
from typing import Any

from dichroic.studies.reproduce.measures import MEASURES
from dichroic.studies.reproduce.studies import STUDIES

__all__ = ["as_markdown", "mixtures_as_markdown", "study_as_markdown"]


def as_markdown(found: Mapping[str, Any]) -> str:
    """Tables of everything in the results of `collect`: numbers with their intervals, and how they came about."""
    studies = (f"## {study['title']}\n\n{study_as_markdown(study)}" for study in found.get("studies", []))
    return mixtures_as_markdown(found) + "".join(studies)


def study_as_markdown(study: Mapping[str, Any]) -> str:
    """The tables of a comparison in which nothing is mixed."""
    if study["skipped"]:
        return f"Skipped: {study['skipped']}.\n\n"
    done = [c for c in study["cells"] if c["status"] == "done"]
    lines = [*STUDIES[study["name"]].table(done), *_undone(study["cells"])] if done else _undone(study["cells"])
    return "\n".join(lines).rstrip() + "\n\n"


def mixtures_as_markdown(found: Mapping[str, Any]) -> str:
    """Tables of the experiments with mixtures, and of their ablations."""
    lines = _about(found)
    mixed = [e for e in found["experiments"] if e["design"] and e["family"] == "mixed"]
    if mixed:
        lines += _designs(mixed)
    for experiment in found["experiments"]:
        lines += _experiment(experiment)
    for ablation in found["ablations"]:
        lines += _ablation(ablation)
    return "\n".join(lines) + "\n"


def _about(found: Mapping[str, Any]) -> list[str]:
    machine = found["machine"]
    versions = machine["versions"]
    devices = ", ".join(sorted(set(machine["devices"])))
    about = [
        f"Scale *{found['scale']}*, {machine['started'][:10]}, {machine['cores']} cores, device {devices}, "
        f"{machine['platform']}, Python {machine['python']}, JAX {versions['jax']}, dichroic {versions['dichroic']}.",
        "",
    ]
    if not (found["experiments"] or found["ablations"]):
        return about
    return [
        *about,
        "Every number is of held-out observations, with its 95 % interval: of the bootstrap over observations for "
        "means, of half-samples for distances between sets; *n* is the number of samples. Columns called *published* "
        "follow the definitions of the paper, in which draws meet the truth of their own observations; the others "
        "compare draws with the truth of other observations.",
        "",
    ]


def _experiment(experiment: Mapping[str, Any]) -> list[str]:
    lines = [f"## {experiment['title']}", ""]
    if experiment["skipped"]:
        return [*lines, f"Skipped: {experiment['skipped']}.", ""]
    lines += [*_data_line(experiment), ""]
    done = [c for c in experiment["cells"] if c["status"] == "done"]
    keys = [f"{t['view']}/{t['source']}" for t in experiment["targets"]]
    if experiment.get("axis"):
        lines += _along(experiment, done)
        keys = []
    for number, key in enumerate(keys):
        published = experiment["published"] if number == 0 else []
        lines += _scores(key, experiment["measures"], done, published)
    lines += _how(done)
    lines += [f"* {c['title']}: {c['said']}" for c in done if c.get("said")]
    lines += _undone(experiment["cells"])
    lines += [
        f"* {c['title']}: {MEASURES[name].title} not computed: {reason}"
        for c in done
        for name, reason in c["missing"].items()
    ]
    lines += [f"* {c['title']}: warning: {_first(c['warnings'])}" for c in done if c["warnings"]]
    for row in experiment["published"]:
        lines.append(f"* published, {row['method']}: {row['citation']}" + (f"; {row['note']}" if row["note"] else ""))
    if experiment["note"]:
        lines.append(f"* {experiment['note']}")
    return [*lines, ""]


def _undone(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"* {c['title']}: {c['status']}: {c['reason']}" for c in cells if c["status"] != "done"]


def _data_line(experiment: Mapping[str, Any]) -> list[str]:
    made = experiment["data"] or {"arguments": {}, "seed": None, "generator": ""}
    arguments = ", ".join(f"{key} = {value}" for key, value in made["arguments"].items())
    line = f"Data: `{made['generator']}({arguments})`, seed {made['seed']}."
    if experiment["design"]:
        line += f" Condition of the design: {_condition(experiment['design'], 'means')} for means, "
        line += f"{_condition(experiment['design'], 'covariances')} for covariances."
    return [line]


def _scores(
    key: str, measures: Sequence[str], cells: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]]
) -> list[str]:
    """One table of a target: a row per method."""
    rows = [(c["title"], c["scores"][key]) for c in cells if c["scores"].get(key)]
    shown = [
        m for m in measures if any(m in numbers for _, numbers in rows) or any(m in p["numbers"] for p in published)
    ]
    if not rows or not shown:
        return []
    view, source = key.split("/")
    header = ["method", *(_heading(m) for m in shown)]
    body = [[f"*{p['method']}, published*", *(_plain(p["numbers"].get(m)) for m in shown)] for p in published]
    body += [[title, *(_number(numbers.get(m)) for m in shown)] for title, numbers in rows]
    return [f"`{source}` in view `{view}`{_counts(rows, shown)}:", "", *_markdown(header, body), ""]


def _along(experiment: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """One table of a measure: a row per method, a column per target."""
    lines, targets = [], experiment["targets"]
    keys = [f"{t['view']}/{t['source']}" for t in targets]
    for measure in experiment["measures"]:
        rows = [(c["title"], [c["scores"].get(key, {}).get(measure) for key in keys]) for c in cells]
        body = [[title, *map(_number, numbers)] for title, numbers in rows if any(numbers)]
        if body:
            n = max(number["samples"] for _, numbers in rows for number in numbers if number)
            header = [experiment["axis"], *(f"{t['at']:g}" for t in targets)]
            lines += [f"{_heading(measure)} of `{targets[0]['source']}`, *n* = {n} in every column:", ""]
            lines += [*_markdown(header, body), ""]
    return lines


def _counts(rows: Sequence[tuple[str, Mapping[str, Any]]], shown: Sequence[str]) -> str:
    """How many samples the numbers are of."""
    found: dict[str, set[int]] = {}
    for _, numbers in rows:
        for name in shown:
            if name in numbers:
                kind = "observations" if MEASURES[name].kind in ("draw", "mean", "pooled") else "in either set"
                found.setdefault(kind, set()).add(numbers[name]["samples"])
    parts = [f"{' or '.join(f'{n:,}' for n in sorted(counts))} {kind}" for kind, counts in found.items()]
    return f", *n* = {', '.join(parts)}" if parts else ""


def _how(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """One table of what it took."""
    header = ["method", "fit (s)", "CPU (s)", "separate (s)", "draws", "evaluations per draw", "fit", "χ²", "diverged"]
    body = []
    for c in cells:
        times = c["times"]
        body.append(
            [
                c["title"],
                _seconds(times.get("fit"), "seconds"),
                _seconds(times.get("fit"), "cpu_seconds"),
                _seconds(times.get("separate"), "seconds"),
                str(c["draws"]) if c["draws"] else "point",
                str(c["evaluations_per_draw"]),
                _effort(c["effort"]),
                ", ".join("" if x is None else f"{x:.2f}" for x in c["residual"].values()),
                ", ".join(f"{x:.1%}" for x in c["diverged"].values()),
            ]
        )
    return [*_markdown(header, body), ""] if body else []


def _designs(experiments: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sweep of mixed designs: identifiability beside the result of every method."""
    lines = ["## Mixed designs: identifiability and result", ""]
    key = "view2/source2"
    titles = list(dict.fromkeys(c["title"] for e in experiments for c in e["cells"] if c["status"] == "done"))
    header = ["design", "condition, means", "condition, covariances", *(f"{t}, PSNR (dB)" for t in titles)]
    body = []
    for e in experiments:
        cells = {c["title"]: c["scores"].get(key, {}) for c in e["cells"] if c["status"] == "done"}
        conditions = [_condition(e["design"], order) for order in ("means", "covariances")]
        body.append([e["title"], *conditions, *(_number(cells.get(t, {}).get("psnr")) for t in titles)])
    return [*lines, *_markdown(header, body), ""]


def _ablation(ablation: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## Ablation: {ablation['title']}",
        "",
        f"On `{ablation['experiment']}`, method `{ablation['method']}`.",
        "",
    ]
    done = [(row, row["cell"]) for row in ablation["rows"] if row["cell"] and row["cell"]["status"] == "done"]
    if ablation.get("axis"):
        lines += _along(ablation, [{**cell, "title": row["name"]} for row, cell in done])
    elif done:
        first = done[0][1]["scores"]
        key = next(iter(first), None)
        shown = [m for m in MEASURES if any(m in c["scores"].get(key, {}) for _, c in done)]
        has = any(row["published"] for row, _ in done)
        header = [ablation["title"], *(_heading(m) for m in shown), *(["PSNR, published row (dB)"] if has else [])]
        header += ["fit (s)", "evaluations per draw", "fit"]
        body = []
        for row, cell in done:
            numbers = cell["scores"].get(key, {})
            published = [_plain(row["published"]["numbers"].get("psnr")) if row["published"] else ""] if has else []
            took = [_seconds(cell["times"].get("fit"), "seconds"), str(cell["evaluations_per_draw"])]
            body.append(
                [row["name"], *(_number(numbers.get(m)) for m in shown), *published, *took, _effort(cell["effort"])]
            )
        lines += [*_markdown(header, body), ""]
    for row in ablation["rows"]:
        if row["cell"] is None:
            lines.append(f"* {row['name']}: not run")
        elif row["cell"]["status"] != "done":
            lines.append(f"* {row['name']}: {row['cell']['status']}: {row['cell']['reason']}")
    if ablation["note"]:
        lines.append(f"* {ablation['note']}")
    return [*lines, ""]


def _first(warnings: Sequence[str]) -> str:
    more = f" (and {len(warnings) - 1} more, in results.json)" if len(warnings) > 1 else ""
    return f"{warnings[0]}{more}"


def _markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(["", *cells, ""]).strip() for cells in (header, ["---"] * len(header), *body)]
    return lines


def _heading(name: str) -> str:
    m = MEASURES[name]
    return f"{m.title} ({m.unit})" if m.unit else m.title


def _number(value: Mapping[str, Any] | None) -> str:
    if value is None or value["estimate"] is None:
        return ""
    low, estimate, high = (value[key] for key in ("low", "estimate", "high"))
    digits = _digits((high - low) / 2)
    return f"{estimate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _digits(error: float) -> int:
    """Digits after the point that an error of this size leaves meaning."""
    return next((d for d in range(1, 5) if error >= 2 * 10.0**-d), 4 if error > 0 else 2)


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _seconds(entry: Mapping[str, Any] | None, key: str) -> str:
    if entry is None:
        return ""
    return f"{'≥ ' if entry['cut_short'] else ''}{entry[key]:.0f}"


def _effort(effort: Mapping[str, Any]) -> str:
    if not effort:
        return ""
    laps = ", ".join(
        f"laps{'' if s == 'joint' else f' of {s}'}: {effort['laps'][s]} (best: {best})"
        for s, best in effort["best_lap"].items()
    )
    return (
        f"{laps}; {effort['training_steps']:,} steps of {effort['training_batch']}; "
        f"{effort['draw_evaluations']:,} evaluations of draws"
    )


def _condition(design: Mapping[str, Any], order: str) -> str:
    row = design[order]
    if row["null"] or row["condition"] is None:
        return "infinite"
    return f"{'' if row['exact'] or order != 'means' else '> '}{row['condition']:.3g}"
