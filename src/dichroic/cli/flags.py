"""Settings as flags: whatever models of settings hold, and whatever kinds are in their lists, is on the command line.

A flag that is not given is None and leaves the setting to the file, the preset or the default; values are
checked by the models.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field, is_dataclass, make_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import Parameter
from pydantic import BaseModel

from dichroic.cli.options import whole_number
from dichroic.kinds import OneOf, hint_of, parts_of

__all__ = ["flags_of", "given"]

_PLAIN = (bool, int, float, str)


def flags_of(model: type[BaseModel], within: tuple[OneOf, ...] = ()) -> Any:
    """A dataclass with a field for every setting of a model, nested as the settings are, all of them None by default.

    Settings of which there are several kinds have the fields of all of them; a kind inside of one of the same list is
    one flag, its name.
    """
    return _group(model.__name__, _fields([("", model)]), within)


def given(flags: Any) -> dict[str, Any]:
    """The flags that were given, nested as the settings are.

    Where a table may stand, a text does for it: `grass=8,digit=32`, or `pc,tau=0.2` for one with a kind.
    """
    found = {}
    for name in flags.__dataclass_fields__:
        value = getattr(flags, name)
        if is_dataclass(value):
            if inner := given(value):
                found[name] = inner
        elif value is not None:
            found[name] = list(value) if isinstance(value, tuple) else _table(value)
    return found


def _models(choice: OneOf) -> list[tuple[str, type[BaseModel]]]:
    entries: dict[str, Any] = dict(choice.entries)
    return [
        (kind, model)
        for kind, entry in entries.items()
        for model in (entry.variants() if hasattr(entry, "variants") else [entry])
    ]


def _fields(models: list[tuple[str, type[BaseModel]]]) -> dict[str, tuple[list[Any], str]]:
    """Hints and help of all settings of some models; those that not all of them have begin with whose they are."""
    found: dict[str, tuple[list[Any], str]] = {}
    for name in dict.fromkeys(name for _, model in models for name in model.model_fields):
        those = [(kind, model.model_fields[name]) for kind, model in models if name in model.model_fields]
        kinds = dict.fromkeys(kind for kind, _ in those)  # of which one may be several models
        whose = f"{', '.join(kinds)}: " if len(kinds) < len({kind for kind, _ in models}) else ""
        texts = [f.description for _, f in those if f.description]
        hints = [hint_of(f) for _, f in those]
        found[name] = hints, whose + (texts[0] if texts else "")
    return found


def _group(name: str, fields: Mapping[str, tuple[list[Any], str]], within: tuple[OneOf, ...]) -> Any:
    columns = []
    for key, (hints, text) in fields.items():
        parts = [part for hint in hints for part in parts_of(hint)]
        choice = next((part for part in parts if isinstance(part, OneOf)), None)
        models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        if choice is not None and choice not in within:
            inner = _fields(_models(choice))
            inner["kind"] = [Literal[tuple(choice.entries)]], "Which one."  # pyright: ignore
            hint = _group(key, inner, (*within, choice))
        elif choice is None and models:
            hint = flags_of(models[0], within)
        else:
            plain = _plain(parts)
            how = {"negative": "" if _listed(parts) else None, "converter": whole_number if plain is int else None}
            hint: Any = Annotated[plain | None, Parameter(help=text, **how)]
        columns.append((key, hint if get_origin(hint) is Annotated else hint | None, field(default=None)))
    group = make_dataclass(name, columns, kw_only=True, frozen=True)
    group.__module__ = __name__  # or else it is taken for a built-in type
    group.__qualname__ = f"{name}_{id(group):x}"  # of its own: type checkers remember classes by their names
    return group


def _plain(parts: list[Any]) -> Any:
    """What the command line parses: numbers, words, and several of them; any other type is a text."""
    if all(get_origin(part) is Literal for part in parts):
        return Literal[tuple(dict.fromkeys(choice for part in parts for choice in get_args(part)))]
    if _listed(parts):
        return Annotated[tuple[_plain(list(parts_of(get_args(parts[0])[0]))), ...], Parameter(consume_multiple=True)]
    plain = parts[0] if len(set(parts)) == 1 else str
    return plain if plain in _PLAIN else str


def _listed(parts: list[Any]) -> bool:
    return len(set(parts)) == 1 and get_origin(parts[0]) is tuple


def _table(value: Any) -> Any:
    if not isinstance(value, str) or "=" not in value:
        return value
    table = {}
    for part in value.split(","):
        key, equals, text = part.rpartition("=")
        table[key.strip() if equals else "kind"] = _number(text.strip())
    return table


def _number(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
