"""What the author of a plugin imports: `from bridge.mapping.plugin_api import transform`. Pure.

    from typing import Annotated
    from bridge.mapping.plugin_api import transform

    @transform
    def initials(value: str, dots: Annotated[bool, "whether a dot follows each letter"] = False) -> str:
        \"\"\"The first letter of each word.\"\"\"
        return ("." if dots else "").join(word[0] for word in value.split())

The function becomes a transform of its name, for `transform: [{initials: true}]` and `{{ FirstName | initials }}`.
This module keeps no list: a transform is found in the module that defines it, when the configuration is read. So is
a connector, which needs no mark: it is a subclass of `connectors.base.Connector`, under the name of its file.
"""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import orjson

from bridge.mapping.transform_api import REQUIRED, Parameter, Step, Transform, TransformError, as_text
from connectors.base import Connector

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK: Final = "__leadbridge_transform__"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_KINDS: Final = (str, int, float, bool, list, dict)
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@overload
def transform(function: Function, /) -> Function: ...
@overload
def transform(*, name: str) -> Callable[[Function], Function]: ...
def transform(function: Function | None = None, /, *, name: str = "") -> Function | Callable[[Function], Function]:
    """Make a transform of a function. Its docstring is the description, its signature says what it may be given.

    The first parameter is the value: as text where it is annotated `str`, else as it comes (text, number, list, …); it
    is never empty in a field, but may be in a template. The other parameters are the arguments, each annotated as
    `str`, `int`, `float`, `bool`, `list`, `dict` or a union of these; one without a default must be given.
    `Annotated[int, "what it is for"]` describes it in error messages.

    The function is called in the middle of the bridge's work, so it computes and returns: no network, no files. What
    it raises makes a dead letter of that one delivery, with the name of the transform and of the exception.

    Args:
        function: The function, where this is used as `@transform`.
        name: Another name than the function's, where this is used as `@transform(name="…")`.

    Raises:
        TypeError: the function cannot be one; the message says why.
    """

    def mark(found: Function) -> Function:
        setattr(found, _MARK, _made(found, name or getattr(found, "__name__", "")))
        return found

    return mark if function is None else mark(function)


def transforms_in(found: object) -> list[Transform]:
    """Give the transforms that a module defines or imports; of a function the one that it is."""
    members = list(vars(found).values()) if isinstance(found, types.ModuleType) else [found]
    marked = [vars(member).get(_MARK) for member in members if inspect.isfunction(member)]
    return [each for each in marked if isinstance(each, Transform)]


def connector_in(module: types.ModuleType) -> type[Connector] | None:
    """Give the connector that a module defines; one that it imports, to build on, is not meant.

    Raises:
        TypeError: it defines several, so that its name could not be the name of each.
    """
    found = [
        member
        for name, member in vars(module).items()
        if inspect.isclass(member)
        and issubclass(member, Connector)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
        and not name.startswith("_")
    ]
    if len(found) > 1:
        names = ", ".join(each.__name__ for each in found)
        raise TypeError(f"several connectors in a file ({names}): one each, or let the name of a base begin with `_`")
    return found[0] if found else None


def _made(function: Callable[..., Any], name: str) -> Transform:
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
    return Transform(name, description, _maker(name, function, parameters, takes_text=takes_text), parameters)


def _parameter(transform_name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    hint = hints.get(parameter.name)
    what = f"@transform: the parameter `{parameter.name}` of `{transform_name}`"
    if parameter.kind not in _BY_NAME:
        raise TypeError(f"{what} must be one that can be given by name")
    kinds = _kinds(_bare(hint))
    if not kinds:
        names = ", ".join(kind.__name__ for kind in _KINDS)
        raise TypeError(f"{what} must be annotated with one or several of {names}")
    words = [each for each in get_args(hint)[1:] if isinstance(each, str)] if get_origin(hint) is Annotated else []
    default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
    return Parameter(parameter.name, kinds, " ".join(words), default)


def _bare(hint: Any) -> Any:  # noqa: ANN401 - an annotation
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _kinds(hint: Any) -> tuple[type, ...]:  # noqa: ANN401 - an annotation
    """Give the kinds that an annotation allows, besides None; none where it is no annotation for an argument."""
    parts = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)
    kinds = tuple(get_origin(part) or part for part in parts if part is not types.NoneType)
    return kinds if all(kind in _KINDS for kind in kinds) else ()


def _maker(
    name: str, function: Callable[..., Any], parameters: tuple[Parameter, ...], *, takes_text: bool
) -> Callable[..., Step]:
    def make(*arguments: object) -> Step:
        given = {parameter.name: argument for parameter, argument in zip(parameters, arguments, strict=True)}

        def step(value: object) -> Any:  # noqa: ANN401 - a JSON value
            taken = as_text(value) if takes_text else value
            try:
                result = function(taken, **given)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code; its message may hold a value
                raise TransformError(f"transform `{name}` fails with {type(error).__name__}") from None
            return result if type(result) in _PLAIN else _json_value(name, result)

        return step

    return make


def _json_value(name: str, value: object) -> Any:  # noqa: ANN401 - a JSON value
    """Make one of JSON's types of a result, with nothing in it that the plugin could still change."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        kind = type(value).__name__
        raise TransformError(f"transform `{name}` gives a value that JSON does not have ({kind})") from None
