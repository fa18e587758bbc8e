"""`meshlib ca trust`, `distrust` and `bundle`: federation of the embedded CA with others."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from meshlib.cli.ca import ca, open_vault
from meshlib.cli.options import home_option


@ca.command()
@home_option
def bundle(*, home: Path | None) -> None:
    """Print the roots of this mesh, for another one to trust."""
    from cryptography import x509

    from meshlib.control.local.certs import chain_pem

    ders = sorted(open_vault(home).current().ders)
    click.echo(chain_pem(*map(x509.load_der_x509_certificate, ders)), nl=False)


@ca.command()
@click.argument("domain")
@click.argument("file", type=click.File("rb"))
@home_option
def trust(*, domain: str, file: IO[bytes], home: Path | None) -> None:
    """Trust the roots in FILE (PEM; - is stdin) to speak for members of DOMAIN.

    They replace what was trusted for that domain before.  Intentions know its members as strangers,
    unless they name them by their SPIFFE ids.
    """
    from meshlib.control.local.federation import trust_domain
    from meshlib.control.pemfiles import LARGEST

    trusted = trust_domain(open_vault(home), domain, file.read(LARGEST + 1))
    click.echo(f"{domain} is trusted with {len(trusted.roots)} roots")


@ca.command()
@click.argument("domain")
@home_option
def distrust(*, domain: str, home: Path | None) -> None:
    """Trust members of DOMAIN no longer."""
    from meshlib.control.local.federation import distrust_domain

    was = distrust_domain(open_vault(home), domain)
    click.echo(f"{domain} is trusted no longer" if was else "it was so already")
