"""Settings: flags, the table of the problem file and presets."""

import dataclasses
import typing
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from dichroic import FitConfig
from dichroic.cli.app import app
from dichroic.cli.settings import FitFlags, SettingsError, settle
from dichroic.diffusion import Heun
from dichroic.em.config import PRESETS, PUBLISHED
from dichroic.posterior import METHODS, TARGETS, Auto, Method


def test_every_setting_is_a_flag():
    assert _flags(FitFlags) == _settings(FitConfig)


def test_every_flag_has_a_help_text():
    text = _help("fit")
    for path in _flags(FitFlags):
        assert f"--{path.replace('_', '-')}" in text


@pytest.mark.parametrize("name", [*PRESETS, *PUBLISHED])
def test_presets_are_flags_too(name):
    assert settle({}, {}, name) == settle({}, {"preset": name})


def test_flags_come_before_the_file_and_the_file_before_the_preset():
    table = {"preset": "final", "laps": 5, "training": {"steps": 7, "batch": 8}}
    config = settle(_given("--training.steps 6"), table, "draft")
    assert (config.laps, config.training.steps, config.training.batch) == (5, 6, 8)
    assert config.sampling.steps == PRESETS["draft"]["sampling"]["steps"]
    assert settle({}, {}) == FitConfig()


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        ("--laps 3", "laps", 3),
        ("--laps sky=3,star=4", "laps", {"sky": 3, "star": 4}),
        ("--plan sequential", "plan", "sequential"),
        ("--no-residual", "residual", False),
        ("--held-out 0.2", "held_out", 0.2),
        ("--held_out 0.2", "held_out", 0.2),
        ("--training.final-rate 1e-6", "training.final_rate", 1e-6),
        ("--sampling.step heun", "sampling.step", Heun()),
        ("--sampling.kind annealed --sampling.covariance krylov", "sampling.covariance", "krylov"),
        ("--sampling.kind gibbs --sampling.inner auto", "sampling.inner", Auto()),
        ("--gaussian.rank 4", "gaussian.rank", 4),
        ("--network.width 64", "network.kind", "mlp"),
        (
            "--network.kind unet --network.channels 8 16 --network.blocks 1 1 --network.heads 0 2",
            "network.channels",
            (8, 16),
        ),
    ],
)
def test_flags(flags, path, value):
    found: Any = settle(_given(flags), {})
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_a_flag_for_another_kind_of_network_drops_the_settings_of_the_first():
    table = {"network": {"kind": "mlp", "width": 32}}
    assert settle(_given("--network.kind unet"), table).network.kind == "unet"
    assert settle(_given("--network.depth 5"), table).network.model_dump() | {"width": 32, "depth": 5} == (
        settle(_given("--network.depth 5"), table).network.model_dump()
    )


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"lapse": 3}, "lapse: unknown setting; did you mean 'laps'?"),
        ({"zzz": 3}, "zzz: unknown setting; those: .*, laps, .*, training"),
        ({"training": {"step": 3}}, "training.step: unknown setting; did you mean 'steps'?"),
        ({"network": {"kind": "mlp", "widht": 3}}, "network.widht: unknown setting; did you mean 'width'?"),
        ({"network": {"widht": 3}}, "network.widht: unknown setting; did you mean 'width'?"),
        ({"network": {"kind": "unet", "width": 3}}, "network.width: unknown setting; those of network: .*channels"),
        ({"network": {"kind": "mpl"}}, "network.kind: expected 'mlp' or 'unet', got 'mpl'"),
        ({"network": 3}, "network: expected"),
        ({"sampling": {"step": "hein"}}, "sampling.step: unknown step 'hein'; known: ddim, ancestral, heun"),
        ({"sampling": {"kind": "dps"}}, "sampling: unknown kind 'dps'; known: auto, annealed, closed_form"),
        ({"sampling": {"kind": "annealed", "stepz": 3}}, "sampling.stepz: unknown setting; did you mean 'step"),
        ({"sampling": {"kind": "gibbs", "inner": {"stepz": 3}}}, "sampling.inner.stepz: unknown setting; did you"),
        ({"training": 3}, "training: expected"),
        ({"laps": 0}, "laps: expected a positive number, or positive numbers by stage, got 0"),
        ({"laps": {"sky": 0}}, "laps: expected a positive number"),
        ({"plan": "both"}, "plan: expected 'joint' or 'sequential', got 'both'"),
        ({"held_out": 2}, "held_out: expected less than or equal to 1, got 2"),
        ({"training": {"rate": "fast"}}, "training.rate: expected a number.*, got 'fast'"),
        (
            {"preset": "fast"},
            "preset: unknown preset 'fast'; known: draft, standard, final, diem, ddprism, ddprism-gibbs",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(table, match):
    with pytest.raises(SettingsError, match=match.replace("?", r"\?")):
        settle({}, table)


def test_everything_that_is_wrong_is_said():
    with pytest.raises(SettingsError) as error:
        settle({}, {"lapse": 3, "plan": "both", "training": {"step": 3}})
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("laps", ["many", "sky", "sky=", "=3,", "sky=3,star"])
def test_laps_that_are_no_numbers(laps):
    with pytest.raises(SettingsError, match="laps: expected a number, or numbers by stage"):
        settle(_given(f"--laps {laps}"), {})


def _given(flags: str) -> dict[str, Any]:
    _, bound, _ = app.parse_args(f"fit problem.toml {flags}", exit_on_error=False, print_error=False)
    return bound.arguments["settings"].given()


def _help(command: str) -> str:
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    app([command, "--help"], console=Console(file=text, width=250), result_action="return_value")
    return text.getvalue()


def _flags(cls: Any, before: str = "") -> dict[str, Any]:
    """The flags of a dataclass and of those in it, with their choices."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kinds = [k for k in _parts(hints[field.name]) if k is not type(None)]
        if dataclasses.is_dataclass(kinds[0]):
            found |= _flags(kinds[0], f"{before}{field.name}.")
        else:
            found[before + field.name] = _choices(kinds)
    return found


def _settings(model: type[BaseModel], before: str = "") -> dict[str, Any]:
    """The same of a pydantic model; of several models for one setting, all settings of each."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kinds = [k for k in _parts(field.annotation) if k is not type(None)]
        models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if models == [Method]:  # every method; one within another is a flag for its kind
            models = [*METHODS.values(), *TARGETS.values()] if not before else []
        for inner in models:
            for path, choices in _settings(inner, f"{before}{name}.").items():
                found[path] = tuple(sorted({*(found.get(path) or ()), *(choices or ())})) or None
        if not models:
            found[before + name] = None if before == "sampling." else _choices(kinds)
    return found


def _parts(hint: Any) -> list[Any]:
    if get_origin(hint) is typing.Annotated:
        return _parts(get_args(hint)[0])
    if get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType":
        return [part for inner in get_args(hint) for part in _parts(inner)]
    return [hint]


def _choices(kinds: list[Any]) -> tuple[str, ...] | None:
    choices = [choice for kind in kinds if get_origin(kind) is typing.Literal for choice in get_args(kind)]
    return tuple(sorted(choices)) or None
