"""werkzeug's reloader: `flask run --debug`, `app.run(debug=True)`, `run_simple`."""

from __future__ import annotations

from importlib import import_module

from meshlib.auto.incoming import hosted, reloading
from meshlib.auto.incoming.werkzeug import SUPPORTED
from meshlib.auto.outgoing.wraps import Wraps

_wraps = Wraps("werkzeug", SUPPORTED)


def wrap() -> None:
    """Have it leave in good order from now on."""
    if hosted.fits("werkzeug", SUPPORTED):
        loop = import_module("werkzeug._reloader").ReloaderLoop
        _wraps.put(loop, "restart_with_reloader", reloading.restart)
        _wraps.put(loop, "__enter__", reloading.watch)


def unwrap() -> None:
    """Leave it as it was."""
    _wraps.remove()
