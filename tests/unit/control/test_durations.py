from __future__ import annotations

import contextlib
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.durations import format_duration, parse_duration
from meshlib.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("15s", 15.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1h", 3600.0),
        ("1h0m0.5s", 3600.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("100\u03bcs", 1e-4),
        ("7ns", 7e-9),
        ("0.9ns", 0.0),
        ("-2s", -2.0),
        ("+2s", 2.0),
        ("30s1m", 90.0),
        ("2562047h47m16.854775807s", (2**63 - 1) / 1e9),
    ],
)
def test_what_go_reads_is_read(text, seconds):
    """Go's grammar, and seconds as the result."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "s", ".s", "1 s", " 1s", "1s ", "1d", "1S", "--1s", "+-1s", "-", "1m30", "1e3s"),
        *("٣s", "1s\n", "inf", "nan", "2562047h47m16.854775808s", "9" * 63 + "s", "0" * 5000 + "s"),
        *(5, 1.5, None, True, ["1s"]),
    ],
)
def test_what_go_refuses_is_refused_with_its_path(text):
    """Anything else is a ConfigError that shows how it is done."""
    with pytest.raises(ConfigError, match='such as "250ms"') as refused:
        parse_duration(text, path="a.B")
    assert ("a.B", text) == (refused.value.path, refused.value.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (-0.0, "0s"),
        (15.0, "15s"),
        (90.0, "1m30s"),
        (60.0, "1m0s"),
        (3600.0, "1h0m0s"),
        (0.25, "250ms"),
        (0.0015, "1.5ms"),
        (1.05, "1.05s"),
        (1e-4, "100µs"),
        (7e-9, "7ns"),
        (1e-10, "0s"),
        (-90.5, "-1m30.5s"),
    ],
)
def test_durations_print_as_in_go(seconds, text):
    """The text is what Duration.String prints."""
    assert text == format_duration(seconds)


@pytest.mark.parametrize("seconds", [inf, -inf, nan, 1e12])
def test_what_go_cannot_count_is_not_printed(seconds):
    """No text stands for ever."""
    with pytest.raises(ConfigError, match="292 years"):
        format_duration(seconds)


@given(st.integers(-(2**52), 2**52))
def test_printing_and_reading_are_opposites(nanoseconds):
    """To the nanosecond, for as long as a float has them: 52 days in either direction."""
    seconds = nanoseconds / 10**9
    assert seconds == parse_duration(format_duration(seconds))


@given(st.text(max_size=12) | st.text("0123456789.+-nuµmsh", max_size=12))
def test_no_text_raises_anything_else(text):
    """A duration, or a ConfigError."""
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_duration(text), float)
