"""Django's reloader: `runserver` without `--noreload`."""

from __future__ import annotations

from importlib import import_module

from meshlib.auto.incoming import hosted, reloading
from meshlib.auto.outgoing.wraps import Wraps

SUPPORTED = ">=4.2,<7"

_wraps = Wraps("django", SUPPORTED)


def wrap() -> None:
    """Have it leave in good order from now on."""
    if hosted.fits("django", SUPPORTED):
        module = import_module("django.utils.autoreload")
        _wraps.put(module, "restart_with_reloader", reloading.restart)
        _wraps.put(module, "start_django", reloading.watch)


def unwrap() -> None:
    """Leave it as it was."""
    _wraps.remove()
