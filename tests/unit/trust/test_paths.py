"""One reading of a path, or none."""

from __future__ import annotations

import pytest

from meshlib.trust.paths import plain_path


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a/b.c/", "/a/b.c/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/%61dmin", "/admin"),
        ("/a%20b", "/a b"),
        ("/Z%C3%BCrich", "/Zürich"),
        ("/user%40example", "/user@example"),
        ("/100%25", "/100%"),
        ("/...", "/..."),
    ],
)
def test_a_path_is_read_as_applications_read_it(target, path):
    """Decoded once."""
    assert path == plain_path(target)


@pytest.mark.parametrize(
    "target",
    [
        "//admin",
        "/a//b",
        "/./admin",
        "/x/../admin",
        "/x/..",
        "/x/%2e%2E/admin",
        "/x%2fadmin",
        "/x%2Fadmin",
        "/x%5Cadmin",
        "/x\\admin",
        "/admin%00",
        "/admin%0a",
        "/%ff",
        "/%",
        "/%zz",
        "/%2561dmin",
        "/x/%252e%252e/admin",
        "/\x7f",
    ],
)
def test_what_two_programs_read_differently_has_no_reading(target):
    """Encoded slashes, dot and empty segments, control characters, what is not UTF-8."""
    assert plain_path(target) is None
