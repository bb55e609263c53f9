"""API for plug-ins: `from bridge.mapping.plugin_api import transform`. Pure.

    from typing import Annotated
    from bridge.mapping.plugin_api import transform

    @transform
    def initials(value: str, dots: Annotated[bool, "put a dot after each letter"] = False) -> str:
        \"\"\"Return the first letter of each word.\"\"\"
        return ("." if dots else "").join(word[0] for word in value.split())

The function becomes a transform with its name, for `transform: [{initials: true}]` and `{{ FirstName | initials }}`.
There is no registry: transforms are found in their module when the configuration is loaded. Connectors need no mark:
a subclass of `connectors.base.Connector` is found too, and named after its file.
"""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import orjson

from bridge.mapping.transform_api import REQUIRED, Parameter, Transform, TransformError, TransformStep, value_as_text
from connectors.base import Connector

TransformFunction = TypeVar("TransformFunction", bound=Callable[..., Any])

_MARK: Final = "__leadbridge_transform__"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_KINDS: Final = (str, int, float, bool, list, dict)
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@overload
def transform(function: TransformFunction, /) -> TransformFunction: ...
@overload
def transform(*, name: str) -> Callable[[TransformFunction], TransformFunction]: ...
def transform(
    function: TransformFunction | None = None, /, *, name: str = ""
) -> TransformFunction | Callable[[TransformFunction], TransformFunction]:
    """Turn a function into a transform. Its docstring is the description, its signature defines the arguments.

    The first parameter is the value, as text if it is annotated as `str`, otherwise with its own type. In a field it is
    never empty, in a template it may be. The other parameters are the arguments, annotated as `str`, `int`, `float`,
    `bool`, `list`, `dict` or a union of these; a parameter without a default is required. `Annotated[int,
    "description"]` describes an argument in error messages.

    The function must be fast: no network, no files. If it raises an exception, that one delivery becomes a dead letter
    with the names of the transform and of the exception.

    Args:
        function: The function, for use as `@transform`.
        name: Another name than the function's, for use as `@transform(name="…")`.

    Returns:
        The function itself, marked as a transform.

    Raises:
        TypeError: The function cannot be a transform; the message has the reason.
    """

    def mark(target: TransformFunction) -> TransformFunction:
        setattr(target, _MARK, _build_transform(target, name or getattr(target, "__name__", "")))
        return target

    return mark if function is None else mark(function)


def transforms_in(source: object) -> list[Transform]:
    """Return the transforms in a module, defined or imported, or the transform of a function."""
    members = list(vars(source).values()) if isinstance(source, types.ModuleType) else [source]
    marked = [vars(member).get(_MARK) for member in members if inspect.isfunction(member)]
    return [each for each in marked if isinstance(each, Transform)]


def connector_in(module: types.ModuleType) -> type[Connector] | None:
    """Return the connector that a module defines; imported base classes do not count.

    Raises:
        TypeError: The module defines several, although the connector is named after the file.
    """
    connectors = [
        member
        for name, member in vars(module).items()
        if inspect.isclass(member)
        and issubclass(member, Connector)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
        and not name.startswith("_")
    ]
    if len(connectors) > 1:
        names = ", ".join(each.__name__ for each in connectors)
        raise TypeError(
            f"several connectors in a file ({names}): use one file each, and begin the names of base classes with `_`"
        )
    return connectors[0] if connectors else None


def _build_transform(function: Callable[..., Any], name: str) -> Transform:
    if (
        not inspect.isfunction(function)
        or inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
    ):
        raise TypeError(f"@transform: `{name}` must be a plain function, neither async nor a generator")
    if not _NAME.fullmatch(name):
        raise TypeError(f"@transform: `{name}` must be a name of letters, digits and `_`: @transform(name=…)")
    hints = get_type_hints(function, include_extras=True)
    given = list(inspect.signature(function).parameters.values())
    if not given or given[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, _BY_NAME[0]):
        raise TypeError(f"@transform: `{name}` must take the value as its first parameter")
    parameters = tuple(_parameter(name, each, hints) for each in given[1:])
    description = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    takes_text = _bare(hints.get(given[0].name)) is str
    return Transform(name, description, _step_factory(name, function, parameters, takes_text=takes_text), parameters)


def _parameter(transform_name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    hint = hints.get(parameter.name)
    what = f"@transform: the parameter `{parameter.name}` of `{transform_name}`"
    if parameter.kind not in _BY_NAME:
        raise TypeError(f"{what} must not be positional-only or variadic")
    kinds = _kinds(_bare(hint))
    if not kinds:
        names = ", ".join(kind.__name__ for kind in _KINDS)
        raise TypeError(f"{what} must be annotated with one or more of {names}")
    words = [each for each in get_args(hint)[1:] if isinstance(each, str)] if get_origin(hint) is Annotated else []
    default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
    return Parameter(parameter.name, kinds, " ".join(words), default)


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _kinds(hint: Any) -> tuple[type, ...]:
    """Return the types that an annotation allows, without None; empty for other annotations."""
    parts = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)
    kinds = tuple(get_origin(part) or part for part in parts if part is not types.NoneType)
    return kinds if all(kind in _KINDS for kind in kinds) else ()


def _step_factory(
    name: str, function: Callable[..., Any], parameters: tuple[Parameter, ...], *, takes_text: bool
) -> Callable[..., TransformStep]:
    def make(*arguments: object) -> TransformStep:
        given = {parameter.name: argument for parameter, argument in zip(parameters, arguments, strict=True)}

        def step(value: object) -> Any:
            argument_value = value_as_text(value) if takes_text else value
            try:
                result = function(argument_value, **given)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code; its message may hold a value
                raise TransformError(f"transform `{name}` fails with {type(error).__name__}") from None
            return result if type(result) in _PLAIN else _json_value(name, result)

        return step

    return make


def _json_value(name: str, value: object) -> Any:
    """Return the result as JSON types, copied so that the plug-in cannot change it later."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        kind = type(value).__name__
        raise TransformError(f"transform `{name}` returns a value that JSON does not support ({kind})") from None
