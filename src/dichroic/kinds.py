"""Settings, and the settings of one kind of thing among several: a list says which kinds there are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

__all__ = ["OneOf", "Settings", "Share", "hint_of", "model_of", "parts_of"]

Share = Annotated[float, Field(ge=0, lt=1)]  # of a whole, of which something is left

_MOST = (1 << 31) - 1  # of anything that is counted


class Settings(BaseModel):
    """A group of settings. The text below a field is its help on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _countable(cls, table: Any) -> Any:
        """Whole numbers are counted by JAX in 32 bits; seeds are not counted by."""
        faults: list[Any] = []
        for name, field in cls.model_fields.items() if isinstance(table, Mapping) else ():
            value, whole = table.get(name), int in (field.annotation, *get_args(field.annotation))
            if whole and name != "seed" and isinstance(value, int) and abs(value) > _MOST:
                fault = PydanticCustomError("count", f"expected at most {_MOST}")  # pyright: ignore
                faults.append({"type": fault, "loc": (name,), "input": value})
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return table


@dataclass(frozen=True, eq=False)
class OneOf:
    """`Annotated[Base, OneOf(LIST, "first")]`: the settings of an entry of a list, told apart by `kind`.

    The list is read when settings are: what was entered after this module was imported is known, too. A string stands
    for the entry of that name with its defaults, and a table without a kind for one of the kind `default`. A `reader`
    takes the place of `read`. An entry may be several models, as its `variants` and the `variant` of a table say.
    """

    entries: Mapping[str, type[BaseModel]]
    default: str
    reader: Callable[[Any], BaseModel] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_written, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.reader or self.read, serialization=written)

    def read(self, value: Any) -> BaseModel:
        """The settings that a table, a name, or settings themselves stand for.

        **Raises:** pydantic's `ValidationError`.
        """
        if isinstance(value, BaseModel):
            return value
        table = {"kind": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            raise PydanticCustomError("kind", "expected a table with a kind, or the name of a kind")
        kind = table.get("kind", self.default)
        if not isinstance(kind, str) or kind not in self.entries:
            *others, last = (f"'{name}'" for name in self.entries)
            known = f"{', '.join(others)} or {last}" if others else last
            fault = PydanticCustomError("kind", f"expected {known}")  # pyright: ignore
            raise ValidationError.from_exception_data("kind", [{"type": fault, "loc": ("kind",), "input": kind}])
        return self.entries[kind].model_validate({**table, "kind": kind})


def parts_of(hint: Any) -> Iterator[Any]:
    """The types that a hint allows, and the lists where it is one kind of several."""
    if get_origin(hint) is Annotated:
        choices = [extra for extra in hint.__metadata__ if isinstance(extra, OneOf)]
        yield from choices or parts_of(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from parts_of(part)
    elif hint is not NoneType:
        yield hint


def hint_of(field: FieldInfo) -> Any:
    """The hint of a field of a model, as it was written."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def model_of(field: FieldInfo, table: Any) -> type[BaseModel]:
    """The model that reads the table of a field."""
    parts = list(parts_of(hint_of(field)))
    for part in parts:
        if isinstance(part, OneOf):
            entry: Any = part.entries[table.get("kind", part.default)]
            return entry.variant(table) if hasattr(entry, "variant") else entry
    return next(part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))


def _written(settings: BaseModel, info: Any) -> Any:
    table = settings.model_dump(mode=info.mode, exclude_none=info.exclude_none)
    return table["kind"] if set(table) == {"kind"} else table
