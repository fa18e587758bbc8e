"""`meshlib split`."""

from __future__ import annotations

from pathlib import Path

import click

from meshlib.cli.options import of_a_mesh, open_mesh


@click.command()
@click.argument("service")
@click.argument("shares", nargs=-1, required=True, metavar="VERSION=PERCENT...")
@of_a_mesh
def split(service: str, shares: tuple[str, ...], home: Path | None, control: str | None) -> None:
    """Send shares of the calls to SERVICE to its versions: `meshlib split backend v1=90 v2=10`."""
    from meshlib.demo.canary import set_split

    weights = parse_shares(shares)
    with open_mesh(home, control) as mesh:
        set_split(mesh.control, service, weights)
    told = ", ".join(f"{version} {share:g} %" for version, share in weights.items())
    click.echo(f"{service}: {told}")


def parse_shares(shares: tuple[str, ...]) -> dict[str, float]:
    """Read `v1=90`; raises BadParameter for anything else, and for a version given twice."""
    weights: dict[str, float] = {}
    for share in shares:
        version, _, percent = share.partition("=")
        if not version or version in weights or not _is_percentage(percent):
            expected = "VERSION=PERCENT, each version once, percent 0..100"
            raise click.BadParameter(f"{share!r}: expected {expected}")
        weights[version] = float(percent)
    return weights


def _is_percentage(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False
