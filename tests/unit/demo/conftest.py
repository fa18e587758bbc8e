"""Fixtures of the demo's tests: one filled store, and who answers."""

from __future__ import annotations

import pytest

from meshlib.demo.process import About
from meshlib.demo.storage import open_store
from meshlib.demo.zones import load_countries, load_zones


@pytest.fixture(scope="session")
def store():
    with_tables = open_store(None)
    with_tables.fill(load_zones(), load_countries())
    yield with_tables
    with_tables.close()


@pytest.fixture
def about():
    return lambda service, version="v1": About(service, version, f"{service}-test")
