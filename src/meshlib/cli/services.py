"""`meshlib services`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshlib.cli.options import of_a_mesh, open_mesh
from meshlib.errors import RegistryUnavailable
from meshlib.model import Bound, Resolution

if TYPE_CHECKING:
    from meshlib.control.registry import Discovery
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
    Console().print(table if table.row_count else "no services")


def rows(discovery: Discovery) -> Iterator[tuple[str, str, str, str, str]]:
    """One row an instance that takes traffic; a service without any has one row too."""
    for service in discovery.services():
        resolution = first_value(discovery.endpoints(service))
        endpoints = resolution.snapshot.endpoints if isinstance(resolution, Bound) else ()
        for each in endpoints:
            yield service, each.id, each.version, "ready", f"{each.host}:{each.port}"
        if not endpoints:
            yield service, "-", "", "no instance", ""


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
