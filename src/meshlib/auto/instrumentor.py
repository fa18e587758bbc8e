"""`opentelemetry-instrument python app.py` with MESHLIB_SERVICE set, in place of `meshlib run`."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from meshlib.auto import hooks

log = logging.getLogger("meshlib.auto")


class MeshInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """The mesh as OpenTelemetry's launcher knows such things; the entry point `meshlib`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: each library is judged when it is imported."""
        return ()

    def _instrument(self, **_: Any) -> None:
        if os.environ.get("MESHLIB_SERVICE"):
            hooks.install()
        else:
            log.warning("the mesh is off: MESHLIB_SERVICE does not say which service this is")

    def _uninstrument(self, **_: Any) -> None:
        hooks.remove()
