"""Settings from JSON and YAML files: a damaged or wrong file is one ValueError that names it, whatever the parser
raises.

What a value must be stands beside its field, as its type: `Annotated[int, Range(1)]`, `Choice("a", "b")`, `dict[str,
float]`. `fill` and
`read_value` check it, and `Option` does so for a command line.
"""

import argparse
import json
import math
import re
import reprlib
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Callable, Literal, Union, get_args, get_origin

import yaml

DEEPEST = 50  # brackets in brackets; yaml's time grows with the square of their number


@dataclass(frozen=True)
class Range:
    """From `low` to `high`; `above`: not `low` itself."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        start = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        return start if self.high == math.inf else f"{'above' if self.above else 'from'} {self.low:g} to {self.high:g}"


def Choice(*names: str) -> Any:
    """Return the type of a setting that is one of some names."""
    return Literal[names]


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Weight = Annotated[float, Range(0)]  # a number that is not negative
Above0 = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
Percentage = Annotated[int, Range(0, 100)]


class _Loader(yaml.SafeLoader):
    """Plain values as YAML 1.2 reads them (1e-1 is a number, `no` a word), no key twice, no deeper than a person would
    write.
    """

    def fetch_flow_collection_start(self, TokenClass) -> None:
        if self.flow_level >= DEEPEST:
            raise yaml.YAMLError(f"more than {DEEPEST} brackets in brackets")
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := sorted({key for key in keys if isinstance(key, str) and keys.count(key) > 1}):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {', '.join(twice)} is there twice")
        return super().construct_mapping(node, deep)


_NUMBERS = ("bool", "int", "float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _make in (
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", lambda text: int(text, 16 if text.startswith("0x") else 10)),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))),
):  # fmt: skip
    _tag = f"tag:yaml.org,2002:{_name}"
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list("-+0123456789.tTfF"))
    _Loader.add_constructor(_tag, lambda loader, node, make=_make: make(loader.construct_scalar(node)))


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file; raise ValueError naming the file if it is missing or not JSON."""
    return _read(Path(path), lambda text: json.loads(text, object_pairs_hook=_once), "JSON")


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file; raise ValueError naming the file if it is missing or not YAML."""
    return _read(Path(path), lambda text: _Loader(text).get_single_data(), "YAML")


def _read(path: Path, parse: Callable[[str], Any], what: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a {what} file") from None
    except (
        Exception
    ) as error:  # yaml lets many types through: TypeError, AttributeError, IndexError, RecursionError, ...
        raise ValueError(f"{path}: cannot be read as {what}: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{', '.join(sorted({key for key in keys if keys.count(key) > 1}))} is there twice")
    return found


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Return the names and values of a YAML file; of an empty one, none."""
    values = read_yaml(path)
    return {} if values is None else read_value(values, dict[str, Any], str(path))


def fill(config_class: type, values: Any, source: str) -> Any:
    """Return a dataclass filled from a dict; raise ValueError naming `source` for unknown keys, wrong types and values
    out of range.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{source}: found a {type(values).__name__}; expected names and values")
    known = {field.name: field for field in fields(config_class)}
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"{source}: unknown keys {unknown}; expected some of {sorted(known)}")
    if missing := sorted(
        name for name, f in known.items() if name not in values and f.default is f.default_factory is MISSING
    ):
        raise ValueError(f"{source}: no {', '.join(missing)}; expected all of {sorted(known)}")
    read = {name: read_value(value, known[name].type, f"{source}: {name}") for name, value in values.items()}
    try:
        return config_class(**read)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{source}: {error}") from None


def read_value(value: Any, wanted: Any, where: str) -> Any:
    """Return a value as the type `wanted` (16.0 is a whole number, 3 a number); ValueError names `where`, what it is
    and what is expected.
    """
    if is_dataclass(wanted):
        return value if isinstance(value, wanted) else fill(wanted, value, where)
    items = get_args(wanted)
    if get_origin(wanted) in (tuple, list) and isinstance(value, (list, tuple)):
        return get_origin(wanted)(read_value(item, items[0], where) for item in value)
    if get_origin(wanted) is dict and isinstance(value, dict):
        return {
            read_value(key, items[0], where): read_value(item, items[1], f"{where}: {key}")
            for key, item in value.items()
        }
    if get_origin(wanted) in (Union, UnionType) and any(_fits(value, option) for option in items):
        return read_value(value, next(option for option in items if _fits(value, option)), where)
    if not _fits(value, wanted):
        raise ValueError(f"{where} is {reprlib.repr(value)}; expected {describe(wanted)}")
    plain = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
    return plain(value) if plain in (int, float) else value


def _fits(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) is Annotated:
        plain, *ranges = get_args(wanted)
        return _fits(value, plain) and all(value in range_ for range_ in ranges)
    if is_dataclass(wanted):
        return isinstance(value, (dict, wanted))
    if get_origin(wanted) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(wanted))
    if get_origin(wanted) is Literal:
        return isinstance(value, str) and value in get_args(wanted)
    if wanted in (int, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return number and (wanted is float or value == int(value))
    if wanted in (None, NoneType):
        return value is None
    return wanted is Any or isinstance(value, get_origin(wanted) or wanted)


def describe(wanted: Any) -> str:
    """Return a type in words."""
    if is_dataclass(wanted):
        return "names and values"
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        None: "nothing",
        NoneType: "nothing",
    }
    items = get_args(wanted)
    if get_origin(wanted) is Annotated:
        return f"{describe(items[0])}, {' and '.join(map(str, items[1:]))}"
    if get_origin(wanted) is Literal:
        return f"one of {', '.join(items)}"
    if get_origin(wanted) in (Union, UnionType):
        return " or ".join(map(describe, items))
    if get_origin(wanted) in (tuple, list):
        return f"a list, each {describe(items[0])}"
    if get_origin(wanted) is dict or wanted is dict:
        return f"names and values, each {describe(items[1])}" if items and items[1] is not Any else "names and values"
    return names.get(wanted, str(getattr(wanted, "__name__", wanted)))


class Option:
    """The type of a command line's option: `parser.add_argument("--beam", type=Option(Positive))`."""

    def __init__(self, wanted: Any):
        self.wanted = wanted

    def __call__(self, text: str) -> Any:
        try:
            return read_value(_Loader(text).get_single_data(), self.wanted, "it")
        except (ValueError, yaml.YAMLError):
            raise argparse.ArgumentTypeError(f"found {text!r}; expected {describe(self.wanted)}") from None
