"""Settings from JSON and YAML files: a damaged or wrong file is one ValueError that names it, whatever the parser raises."""

import json
import reprlib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Callable, get_args, get_origin

import yaml

DEEPEST = 50  # brackets in brackets; yaml's time grows with the square of their number


class _Loader(yaml.SafeLoader):
    """Plain values only, and no deeper than a person would write."""

    def fetch_flow_collection_start(self, TokenClass) -> None:
        if self.flow_level >= DEEPEST:
            raise yaml.YAMLError(f"more than {DEEPEST} brackets in brackets")
        super().fetch_flow_collection_start(TokenClass)


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file; raise ValueError naming the file if it is missing or not JSON."""
    return _read(Path(path), json.loads, "JSON")


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file; raise ValueError naming the file if it is missing or not YAML."""
    return _read(Path(path), lambda text: _Loader(text).get_single_data(), "YAML")


def _read(path: Path, parse: Callable[[str], Any], what: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a {what} file") from None
    except Exception as error:  # yaml lets many types through: TypeError, AttributeError, IndexError, RecursionError, ...
        raise ValueError(f"{path}: cannot be read as {what}: {error}") from None


def fill(config_class: type, values: Any, source: str) -> Any:
    """Return a dataclass filled from a dict; raise ValueError naming `source` for unknown keys and values of a wrong type."""
    if not isinstance(values, dict):
        raise ValueError(f"{source}: found a {type(values).__name__}; expected names and values")
    known = {field.name: field for field in fields(config_class)}
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"{source}: unknown keys {unknown}; expected some of {sorted(known)}")
    if missing := sorted(name for name, f in known.items() if name not in values and f.default is f.default_factory is MISSING):
        raise ValueError(f"{source}: no {', '.join(missing)}; expected all of {sorted(known)}")
    for name, value in values.items():
        if not _fits(value, known[name].type):
            raise ValueError(f"{source}: {name} is {reprlib.repr(value)}; expected {known[name].type}")
    try:
        return config_class(**values)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{source}: {error}") from None


def _fits(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) in (tuple, list):
        item = get_args(wanted)[0]
        return isinstance(value, (list, tuple)) and all(_fits(v, item) for v in value)
    if wanted in (int, float):
        return isinstance(value, (int, wanted)) and not isinstance(value, bool)
    return not isinstance(wanted, type) or isinstance(value, wanted)
