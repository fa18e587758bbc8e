"""`meshlib allow`, `deny` and `authz`: who may call whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshlib.cli.options import of_a_mesh, open_mesh
from meshlib.cli.suggest import suggest
from meshlib.control.edit import update
from meshlib.control.grants import condition, with_rule
from meshlib.control.intentions import KIND
from meshlib.errors import RegistryUnavailable
from meshlib.trust.intention import Decision, IntentionSet
from meshlib.trust.paths import plain_path
from meshlib.trust.permission import Request

if TYPE_CHECKING:
    from meshlib.control.registry import IntentionSource

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_ANYTHING_ELSE = Request("", "/\0")
"""What only a rule without conditions is about."""
_PATIENCE = 5.0
"""Seconds to wait for the control plane's first answer."""


def _conditional(command: CommandT) -> CommandT:
    """Give a command the options that say what a rule is about, and its two services."""
    for option in (
        of_a_mesh,
        click.option("--header", "headers", multiple=True, metavar="NAME[=VALUE]"),
        click.option("--path", metavar="PATH", help="/cities is exact, /cities/* a prefix."),
        click.option("--method", "methods", multiple=True, help="May be given several times."),
        click.argument("destination"),
        click.argument("source"),
    ):
        command = option(command)
    return command


@click.command()
@_conditional
def allow(**given: Any) -> None:
    """Let SOURCE call DESTINATION; * is every service.

    With --method, --path or --header only what they say, before all earlier rules.
    """
    _rule("allow", **_with_condition(given))


@click.command()
@_conditional
def deny(**given: Any) -> None:
    """Refuse calls of SOURCE to DESTINATION; * is every service.

    With --method, --path or --header only what they say, before all earlier rules.
    """
    _rule("deny", **_with_condition(given))


@click.group()
def authz() -> None:
    """Ask about intentions."""


authz.add_command(suggest)


@authz.command()
@click.argument("source")
@click.argument("destination")
@click.argument("method", default="GET")
@click.argument("path", default="/")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE")
@click.option(
    "--default",
    type=click.Choice(["allow", "deny"]),
    envvar="MESHLIB_DEFAULT_INTENTIONS",
    help="default_intentions of DESTINATION.  [env: MESHLIB_DEFAULT_INTENTIONS]",
)
@of_a_mesh
def check(
    *,
    source: str,
    destination: str,
    method: str,
    path: str,
    headers: tuple[str, ...],
    default: str | None,
    **mesh_meant: Any,
) -> None:
    """Say whether a request is let in, and which rule decides; exit code 0: it is, 1: it is not.

    What holds where no rule decides is a setting of the service that is called: --default.
    """
    with open_mesh(**mesh_meant, default_intentions=default) as mesh:
        found = known(mesh.control, destination)
        told = bool(mesh.settings.default_intentions)
    request = Request(method.upper(), plain_path(path.partition("?")[0]), _pairs(headers).get)
    decision = found.decide(source, request)
    click.echo(f"{'allowed' if decision.allowed else 'denied'}: {decision.reason}")
    word = "allow" if found.allow else "deny"
    hint = "" if told else f"; if {destination} has a default_intentions of its own, say --default"
    click.echo(f"  with the default {word}{hint}")
    click.get_current_context().exit(0 if decision.allowed else 1)


def known(plane: IntentionSource, service: str) -> IntentionSet:
    """Who may call `service`, once the control plane has said so.  Raises RegistryUnavailable."""
    watch = plane.intentions(service)
    answered = threading.Event()
    unsubscribe = watch.subscribe(answered.set)
    try:
        if not answered.wait(_PATIENCE):
            what = f"the intentions of {service} were not known within {_PATIENCE:g} s"
            raise RegistryUnavailable(what, hint="until they are, the service lets nobody in")
    finally:
        unsubscribe()
    return watch.value


def _rule(
    action: str,
    *,
    source: str,
    destination: str,
    http: Mapping[str, Any] | None,
    home: Path | None,
    control: str | None,
) -> None:
    change = partial(with_rule, source=source, action=action, http=http)
    with open_mesh(home, control) as mesh:
        before, now = update(mesh.control, KIND, destination, change)
        otherwise = known(mesh.control, destination).decide(source, _ANYTHING_ELSE)
    verb = "may" if action == "allow" else "may not"
    about = f" ({_in_words(http)})" if http else ""
    same = "; it was so already" if before is now else ""
    click.echo(f"{source} {verb} call {destination}{about}{same}")
    if http:
        click.echo(f"  anything else: {_otherwise(otherwise)}")


def _with_condition(given: dict[str, Any]) -> dict[str, Any]:
    http = condition(given.pop("path"), given.pop("methods"), given.pop("headers"))
    return {**given, "http": http}


def _in_words(http: Mapping[str, Any]) -> str:
    words = [*http.get("Methods", ()), http.get("PathExact", ""), http.get("PathPrefix", "")]
    words += [f"{each['Name']}={each.get('Exact', '*')}" for each in http.get("Header", ())]
    return " ".join(filter(None, words))


def _otherwise(decision: Decision) -> str:
    return f"{'allowed' if decision.allowed else 'denied'}, {decision.reason}"


def _pairs(headers: tuple[str, ...]) -> dict[str, str]:
    pairs = (text.partition("=") for text in headers)
    return {name.lower(): value for name, _, value in pairs}
