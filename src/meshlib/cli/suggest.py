"""`meshlib authz suggest`: intentions that allow what was observed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshlib.cli.options import home_option
from meshlib.control.local.plane import default_home
from meshlib.control.observed import Observations, ObservedFolder, Seen
from meshlib.control.suggest import suggested, unusable
from meshlib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@click.command()
@click.argument("service")
@click.option("--document", is_flag=True, help="Print what `meshlib apply -` reads.")
@click.option("--forget", is_flag=True, help="Forget what was observed, to begin anew.")
@home_option
def suggest(*, service: str, document: bool, forget: bool, home: Path | None) -> None:
    """Suggest who may call SERVICE, by what its processes here saw in audit mode.

    Nothing is changed: read it, then run it.
    """
    folder = ObservedFolder(home or default_home())
    if forget:
        click.echo(f"forgotten: what {folder.forget(service)} processes of {service} had seen")
        return
    found = folder.read(service)
    if not found.seen:
        policy = '{"Serving": {"Authorization": "audit"}}'
        hint = f"put {policy} into traffic-policy/{service}, and let everything happen once"
        raise ConfigError("SERVICE", service, "one that was called in audit mode here", hint=hint)
    body = suggested(service, found.seen)
    if document:
        click.echo(json.dumps(body, indent=2))
    else:
        for line in _commands(service, body):
            click.echo(line)
    for line in _remarks(found):
        click.echo(f"# {line}", err=document)


def _commands(service: str, body: Mapping[str, Any]) -> Iterator[str]:
    for source in reversed(body["Sources"]):
        name = _quoted(source["Name"])
        permissions = source.get("Permissions")
        if permissions is None:
            note = f"   # {source['Description']}" if "Description" in source else ""
            yield f"meshlib {source['Action']} {name} {service}{note}"
            continue
        yield f"meshlib deny {name} {service}"
        for each in reversed(permissions[:-1]):
            yield f"meshlib allow {name} {service} {_options(each['HTTP'])}"


def _options(http: Mapping[str, Any]) -> str:
    path = http.get("PathExact") or f"{http['PathPrefix']}*"
    return " ".join([*(f"--method {each}" for each in http["Methods"]), f"--path {_quoted(path)}"])


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _remarks(found: Observations) -> Iterator[str]:
    total = sum(each.requests for each in found.seen)
    yield f"of {total} requests that {found.files} processes served in audit mode"
    for each in _strange(found.seen):
        text = f"{each.requests} x {each.caller or '?'} {each.method} {each.path}".rstrip()
        yield f"left out, as {unusable(each)}: {text}"
    if found.beyond:
        yield f"{found.beyond} more requests were too many different ones to be remembered"


def _strange(seen: Iterable[Seen]) -> list[Seen]:
    return [each for each in seen if unusable(each)]
