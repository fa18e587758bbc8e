"""`meshlib demo`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from meshlib.cli.options import control_option, home_option

NEEDED = ("flask", "gunicorn", "httpx", "starlette", "tzdata", "uvicorn")


@click.command()
@click.option("--once", is_flag=True, help="Play the scripted story, print JSON last, and end.")
@click.option("--faulty", is_flag=True, help="Let backend v2 fail and stall on purpose.")
@click.option("--port", type=int, default=0, help="Port of the page.  [default: a free one]")
@click.option("--duration", type=float, help="Seconds to run.  [default: until Ctrl-C]")
@home_option
@control_option
def demo(
    *,
    once: bool,
    faulty: bool,
    port: int,
    duration: float | None,
    home: Path | None,
    control: str | None,
) -> None:
    """Run three services on this machine and watch them.

    A world clock: frontend, backend (v1 twice, v2 once) and database, each a process with an
    identity of its own.  Its state is in a new temporary folder unless --home is given.
    --control consul starts a real Consul beneath it; a URL (consul://...) takes yours.
    """
    if once and (faulty or duration is not None):
        raise click.UsageError("--once tells its own story: leave --faulty and --duration away")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"the demo needs {', '.join(missing)}: pip install 'meshlib[demo]'")

    from meshlib.demo import story
    from meshlib.demo.stage import Options

    options = Options(home, control or "local", port, faulty=faulty, duration=duration)
    code = story.run_once(options) if once else story.run_live(options)
    click.get_current_context().exit(code)
