"""Settings, and the settings of one kind of thing among several: a list says which kinds there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

__all__ = ["OneOf", "Settings"]


class Settings(BaseModel):
    """A group of settings. The text below a field is its help on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, eq=False)
class OneOf:
    """`Annotated[Base, OneOf(LIST, "first")]`: the settings of an entry of a list, told apart by `kind`.

    The list is read when settings are: what was entered after this module was imported is known, too. A string stands
    for the entry of that name with its defaults, and a table without a kind for one of the kind `default`.
    """

    entries: Mapping[str, type[Settings]]
    default: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_written, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def read(self, value: Any) -> Settings:
        """The settings that a table, a name, or settings themselves stand for.

        **Raises:** pydantic's `ValidationError`.
        """
        if isinstance(value, Settings):
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


def _written(settings: Settings, info: Any) -> Any:
    table = settings.model_dump(mode=info.mode, exclude_none=info.exclude_none)
    return table["kind"] if set(table) == {"kind"} else table
