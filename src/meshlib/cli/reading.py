"""
Documents from a file or standard input: JSON, TOML, or YAML.

    {"Kind": "service-defaults", "Name": "backend", "Protocol": "http"}

One document, a list of them, or a table `documents` as in the file of a static control plane.
`Version`, as `meshlib get` writes it, is what the document is compared with before it is replaced.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from meshlib.control.documents import KINDS, validate
from meshlib.control.registry import Document
from meshlib.errors import ConfigError

Reader: TypeAlias = Callable[[str], Any]

ORDER = (
    "service-defaults",
    "service-resolver",
    "service-splitter",
    "service-router",
    "service-intentions",
    "traffic-policy",
)
"""What is referred to comes first: Consul refuses a split to a subset it does not know."""


def read_documents(text: str, name: str) -> list[tuple[Document, bool]]:
    """The documents of a text, ready to be written in this order.

    Each with whether it names its version.  `name` is the file's, for messages and its ending; "-"
    may be any form.  Raises ConfigError for the first that cannot be used, before any is written.
    """
    found = [_document(each, where) for each, where in _listed(_data(text, name), name)]
    for document, _ in found:
        validate(document)
    return sorted(found, key=lambda each: ORDER.index(each[0].kind))


def written(document: Document) -> str:
    """A document as `read_documents` reads it: JSON, with its version."""
    head = {"Kind": document.kind, "Name": document.name}
    rest = {key: value for key, value in document.body.items() if key not in head}
    return json.dumps({**head, **rest, "Version": document.version}, indent=2, ensure_ascii=False)


def kind_named(word: str) -> str:
    """The kind that a word means: `intentions` is enough.  Raises ConfigError."""
    meant = [kind for kind in KINDS if word in {kind, kind.partition("-")[2]}]
    if len(meant) != 1:
        raise ConfigError("kind", word, f"one of {', '.join(KINDS)}")
    return meant[0]


def _listed(data: Any, path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(data, Mapping) and "documents" in data:
        data, path = data["documents"], f"{path}: documents"
    if not isinstance(data, list):
        yield data, path
        return
    for number, each in enumerate(data):
        yield each, f"{path}[{number}]"


def _document(data: Any, path: str) -> tuple[Document, bool]:
    if not isinstance(data, Mapping):
        raise ConfigError(path, data, "an object with Kind and Name")
    if {"kind", "name"} <= set(data):  # as the file of a static control plane has it
        data = {**data.get("body", {}), "Kind": data["kind"], "Name": data["name"]}
    for field in ("Kind", "Name"):
        if not isinstance(data.get(field), str):
            raise ConfigError(f"{path}.{field}", data.get(field), "a text, it must be given")
    version = data.get("Version", 0)
    if not isinstance(version, int) or version < 0:
        raise ConfigError(f"{path}.Version", version, "the number that `meshlib get` wrote")
    body = {key: value for key, value in data.items() if key != "Version"}
    return Document(data["Kind"], data["Name"], body, version), "Version" in data


def _data(text: str, name: str) -> Any:
    ending = name.rpartition(".")[2].lower()
    if ending in {"yaml", "yml"}:
        return _yaml(text, name)
    readers: dict[str, list[Reader]] = {"json": [json.loads], "toml": [tomllib.loads]}
    return _first_that_reads(text, name, readers.get(ending, [json.loads, tomllib.loads]))


def _first_that_reads(text: str, name: str, readers: Iterable[Reader]) -> Any:
    said = []
    for reader in readers:
        try:
            return reader(text)
        except ValueError as error:
            said.append(str(error))
    raise ConfigError(name, text[:40], f"JSON or TOML ({'; '.join(said)})")


def _yaml(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError:
        hint = "pip install 'meshlib[yaml]', or write JSON or TOML"
        raise ConfigError(name, "YAML", "JSON or TOML, as PyYAML is missing", hint=hint) from None
    try:
        found = [each for each in yaml.load_all(text, _plain_loader(yaml)) if each is not None]
    except yaml.YAMLError as error:
        raise ConfigError(name, text[:40], f"YAML ({error})") from None
    return found[0] if len(found) == 1 else found


def _plain_loader(yaml: Any) -> Any:
    """YAML with JSON's scalars alone: 1.1 takes `no` for false, `012` for ten, `1:30` for 90."""
    import re

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("PlainLoader", (base,), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in (
        ("bool", r"^(?:true|false)$", "tf"),
        ("null", r"^(?:null|~|)$", ["n", "~", ""]),
        ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
        ("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", "-0123456789"),
    ):
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
    return loader
