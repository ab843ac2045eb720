"""Options that commands share: a parameter that is a dataclass, or a `TypedDict`, stands for an option a field."""

from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal, Optional, get_args, get_origin, get_type_hints

import typer
from annotated_doc import Doc
from typer.models import OptionInfo
from typing_extensions import is_typeddict

from cratecli.cli.options import flag_of
from cratecli.tasks.options import check


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose option groups are spread out, in their place, for typer to see.

    A dataclass is built from its options; its `PANEL` is the heading that they have in the help. Of a `TypedDict` the
    command gets those that were given, checked. Raises `UsageError` for what they cannot be.
    """
    hints = get_type_hints(command, include_extras=True)
    spread: list[Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in signature(command).parameters.values():
        hint = hints[parameter.name]
        if is_typeddict(hint) or (isinstance(hint, type) and is_dataclass(hint)):
            groups[parameter.name] = hint
            spread += _typed(hint) if is_typeddict(hint) else _built(hint)
        else:
            spread.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hint))

    @wraps(command)
    def run(**given: Any) -> None:
        made = {name: _gathered(group, given) for name, group in groups.items()}
        command(**given, **made)

    run.__signature__ = Signature(spread)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    del run.__wrapped__
    return run


def _gathered(group: Any, given: dict[str, Any]) -> Any:
    """Take a group's options out of those given."""
    if not is_typeddict(group):
        return group(**{field.name: given.pop(field.name) for field in fields(group)})
    values = {name: given.pop(name) for name in get_type_hints(group)}
    flags = {name: flag_of(name) for name in values}
    read = {name: flags[name].value(text) for name, text in values.items() if text is not None}
    return check(group, read, {name: flag.long for name, flag in flags.items()})


def _built(group: type) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=_under(hints[field.name], getattr(group, "PANEL", None)),
        )
        for field in fields(group)
    ]


def _typed(group: Any) -> list[Parameter]:
    """Make an option of every field: its help is the field's `Doc`, its spelling that of `flag_of`."""
    spread = []
    for name, hint in get_type_hints(group, include_extras=True).items():
        flag = flag_of(name)
        kind, *about = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        help_ = next(each.documentation for each in about if isinstance(each, Doc))
        while get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if flag.read is not None:
            kind = list[str] if flag.repeatable else str
        elif get_origin(kind) is not Literal and kind not in (int, float, bool, str):
            raise TypeError(f"{name}: an option of {kind} has no reader in FLAGS")
        info = typer.Option(*flag.names, metavar=flag.metavar, help=help_)
        annotation = Annotated[Optional[kind], info]  # type: ignore[valid-type] # noqa: UP045 - built as the program runs
        spread.append(Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return spread


def _under(hint: Any, panel: str | None) -> Any:
    """Put an option under a heading."""
    kind, info = get_args(hint)
    if panel is None or not isinstance(info, OptionInfo):
        return hint
    info = copy(info)
    info.rich_help_panel = panel
    return Annotated[kind, info]
