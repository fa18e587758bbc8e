"""`meshlib ca`: the CA of the embedded control plane."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from meshlib.cli.options import home_option, open_mesh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshlib.cli.leaves import Leaf
    from meshlib.control.local.rotation import Rotation
    from meshlib.control.local.survey import CAStatus
    from meshlib.control.local.vault import Vault
    from meshlib.model import Endpoint

ATTENTION = 3
"""Exit code of a status with warnings."""
SHORT = 16
"""Digits of a fingerprint that people compare."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def ca() -> None:
    """The certificate authority of the embedded control plane."""


@ca.command()
@click.option("--trust-domain", metavar="NAME", help="[default: that of the settings]")
@home_option
@json_option
def init(*, trust_domain: str | None, home: Path | None, as_json: bool) -> None:
    """Make the keys, unless they are there; the first process of a mesh does so, too."""
    from meshlib.control.local.ca import LocalCA
    from meshlib.control.local.vault import Vault

    folder, known = _settings(home)
    new = Vault(folder, create=True).is_empty()
    LocalCA(folder, trust_domain or known, now=time.time)
    _show(
        _survey(open_vault(home)), as_json=as_json, said="made" if new else "it was there already"
    )


@ca.command()
@click.option(
    "--instances/--no-instances", default=True, help="Ask instances what they show.  [default: on]"
)
@home_option
@json_option
def status(*, instances: bool, home: Path | None, as_json: bool) -> None:
    """Show the roots, and what certificates the instances use.

    Exit code 0: all is well, 1: the CA cannot be used, 3: there are warnings.
    """
    vault = open_vault(home)
    found = _survey(vault)
    shown = _leaves(vault) if instances else []
    _show(found, shown, as_json=as_json)
    warned = found.warnings or any(each.warning for each in shown)
    click.get_current_context().exit(ATTENTION if warned else 0)


@ca.command()
@click.option(
    "--csr", type=click.File("rb"), required=True, help="PEM, signed by its key; - is stdin."
)
@click.argument("service")
@home_option
def issue(*, csr: IO[bytes], service: str, home: Path | None) -> None:
    """Print a certificate for SERVICE and the key of a certificate request, with its chain.

    The identity is that of SERVICE, whatever the request says: one that asks for more is refused.
    """
    from meshlib.control.local.ca import LocalCA
    from meshlib.control.local.certs import MAX_CSR
    from meshlib.trust.spiffe import service_id

    vault = open_vault(home)
    domain = vault.current().state.trust_domain
    here = LocalCA(vault.folder, domain, now=time.time, create=False)
    chain = here.issue_csr(csr.read(MAX_CSR + 1), allowed=service_id(domain, service))
    click.echo(chain, nl=False)


@ca.group()
def rotate() -> None:
    """Replace the root: prepare, activate, finish.  A step that is done already changes nothing."""


@rotate.command()
@home_option
@json_option
def prepare(*, home: Path | None, as_json: bool) -> None:
    """Publish a second root; everybody begins to trust it."""
    _step(home, lambda rotation: rotation.prepare(), as_json=as_json)


@rotate.command()
@home_option
@json_option
def activate(*, home: Path | None, as_json: bool) -> None:
    """Sign beneath the new root; running processes get new certificates within a second or two."""
    _step(home, lambda rotation: rotation.activate(), as_json=as_json)


@rotate.command()
@click.option("--force", is_flag=True, help="Though certificates of the old root may be valid.")
@home_option
@json_option
def finish(*, force: bool, home: Path | None, as_json: bool) -> None:
    """Drop the old root, once no certificate that it vouches for can be valid.

    With --force now: it revokes them all.
    """
    _step(home, lambda rotation: rotation.finish(force=force), as_json=as_json)


def _step(home: Path | None, act: Callable[[Rotation], bool], *, as_json: bool) -> None:
    from meshlib.control.local.rotation import Rotation

    vault = open_vault(home)
    changed = act(Rotation(vault, now=time.time))
    _show(_survey(vault), as_json=as_json, said="done" if changed else "it was so already")


def _settings(home: Path | None) -> tuple[Path, str]:
    """The folder, and the trust domain of a CA that is to be made there."""
    from meshlib.control.local.plane import default_home

    settings = open_mesh(home, "local").settings
    return Path(settings.home) if settings.home else default_home(), settings.trust_domain


def open_vault(home: Path | None) -> Vault:
    """What is there; it is not made.  Raises IdentityUnavailable."""
    from meshlib.control.local.vault import Vault

    vault = Vault(_settings(home)[0])
    vault.current()
    return vault


def _survey(vault: Vault) -> CAStatus:
    from meshlib.control.local.survey import survey

    return survey(vault, time.time())


def _leaves(vault: Vault) -> list[Leaf]:
    from meshlib.cli.leaves import leaves

    with open_mesh(vault.folder, "local") as mesh:
        return leaves(list(_instances(mesh.control)), vault.current(), time.time())


def _instances(discovery: Any) -> Iterator[tuple[str, Endpoint]]:
    from meshlib.cli.services import first_value
    from meshlib.model import Bound

    for service in discovery.services():
        found = first_value(discovery.endpoints(service))
        if isinstance(found, Bound):
            for each in found.snapshot.endpoints:
                yield service, each


def _show(
    found: CAStatus, shown: list[Leaf] | None = None, *, as_json: bool, said: str = ""
) -> None:
    if as_json:
        more = {} if shown is None else {"instances": [asdict(each) for each in shown]}
        click.echo(json.dumps({**asdict(found), **({"said": said} if said else {}), **more}))
        return
    if said:
        click.echo(said)
    _print(found, shown or [])


def _print(found: CAStatus, shown: list[Leaf]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{found.trust_domain} in {found.folder}", soft_wrap=True)
    roots = Table("root", "state", "fingerprint", "valid until", "issuing until")
    for root in found.roots:
        until = [_day(root.not_after), _day(root.issuing_not_after)]
        roots.add_row(str(root.generation), root.role, root.fingerprint[:SHORT], *until)
    console.print(roots)
    if shown:
        table = Table("service", "instance", "address", "signed by", "valid until")
        for each in shown:
            signer = f"root {each.signed_by}" if each.signed_by else "?"
            row = each.service, each.instance, each.address, signer, _day(each.not_after)
            table.add_row(*row)
        console.print(table)
    for warning in (*found.warnings, *(each.warning for each in shown if each.warning)):
        console.print(f"warning: {warning}", soft_wrap=True)
    if found.next:
        console.print(f"next: {found.next}", soft_wrap=True)


def _day(unix: float | None) -> str:
    """To the minute, which is what fits into a table."""
    return "" if unix is None else f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M} UTC"
