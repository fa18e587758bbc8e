"""`meshlib version`."""

from __future__ import annotations

import click


@click.command()
def version() -> None:
    """Print the versions of meshlib and Python."""
    import platform
    from importlib import metadata

    try:
        ours = metadata.version("meshlib")
    except metadata.PackageNotFoundError:
        ours = "(not installed)"
    click.echo(f"meshlib {ours}, Python {platform.python_version()}")
