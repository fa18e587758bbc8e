"""`meshlib services`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshlib.cli.options import of_a_mesh, open_mesh
from meshlib.errors import RegistryUnavailable
from meshlib.model import Bound, Resolution

if TYPE_CHECKING:
    from meshlib.control.registry import ConfigSource, Discovery, Document
    from meshlib.watch import Watch

_PATIENCE = 5.0
"""Seconds to wait for the registry's first answer."""


@click.command()
@of_a_mesh
def services(home: Path | None, control: str | None) -> None:
    """List services and their instances."""
    from rich.console import Console
    from rich.table import Table

    table = Table("service", "instance", "version", "state", "address")
    with open_mesh(home, control) as mesh:
        for each in rows(mesh.control):
            table.add_row(*each)
        lenient = permissive(mesh.control, mesh.control.services())
    Console().print(table if table.row_count else "no services")
    if lenient:
        click.echo(f"plaintext is accepted besides mutual TLS by {', '.join(lenient)}")


def rows(discovery: Discovery) -> Iterator[tuple[str, str, str, str, str]]:
    """One row an instance that takes traffic; a service without any has one row too."""
    for service in discovery.services():
        resolution = first_value(discovery.endpoints(service))
        endpoints = resolution.snapshot.endpoints if isinstance(resolution, Bound) else ()
        for each in endpoints:
            yield service, each.id, each.version, "ready", f"{each.host}:{each.port}"
        if not endpoints:
            yield service, "-", "", "no instance", ""


def permissive(documents: ConfigSource, services: Iterable[str]) -> list[str]:
    """Those of the services that a document lets accept plaintext."""
    found = {service: documents.get("traffic-policy", service) for service in services}
    return [service for service, policy in found.items() if policy and _is_permissive(policy)]


def _is_permissive(policy: Document) -> bool:
    return (policy.body.get("Serving") or {}).get("Mtls") == "permissive"


def first_value(watch: Watch[Resolution]) -> Resolution:
    """What a watch says once it says something.  Raises RegistryUnavailable."""
    answered = threading.Event()
    unsubscribe = watch.subscribe(answered.set)
    try:
        if not answered.wait(_PATIENCE):
            raise RegistryUnavailable(f"the registry did not answer within {_PATIENCE:g} s")
    finally:
        unsubscribe()
    return watch.value
