"""Options that commands share, as dataclasses: a parameter that is one stands for an option a field."""

from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import OptionInfo


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose option groups are spread out, in their place, for typer to see.

    A group's `PANEL` is the heading that its options have in the help.
    """
    hints = get_type_hints(command, include_extras=True)
    spread: list[Parameter] = []
    groups: dict[str, type] = {}
    for parameter in signature(command).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and is_dataclass(hint):
            groups[parameter.name] = hint
            inner = get_type_hints(hint, include_extras=True)
            for field in fields(hint):
                default = Parameter.empty if field.default is MISSING else field.default
                shown = _under(inner[field.name], getattr(hint, "PANEL", None))
                spread.append(
                    Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=shown)
                )
        else:
            spread.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hint))

    @wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__signature__ = Signature(spread)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    del run.__wrapped__
    return run


def _under(hint: Any, panel: str | None) -> Any:
    """Put an option under a heading."""
    kind, info = get_args(hint)
    if panel is None or not isinstance(info, OptionInfo):
        return hint
    info = copy(info)
    info.rich_help_panel = panel
    return Annotated[kind, info]
