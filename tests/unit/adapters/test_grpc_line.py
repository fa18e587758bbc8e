"""When a line may say that nothing was sent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from meshlib.adapters.grpc.line import Line

PATH = "/tmp/meshlib-x/1-abc"
NO_CONNECTION = "failed to connect to all addresses; last error: UNKNOWN: unix:"
GOODBYE = "Stream removed (GOAWAY received; Error code: 0; Debug Text: max_age)"


@pytest.mark.parametrize(
    ("details", "goodbye", "expected"),
    [
        (f"{NO_CONNECTION}{PATH}: No such file or directory", False, True),
        (f"{NO_CONNECTION}/tmp/of-somebody-else: No such file or directory", False, False),
        (GOODBYE, True, True),
        (GOODBYE, False, False),
        (GOODBYE.replace("code: 0", "code: 2"), True, False),
        ("out of stock", False, False),
    ],
    ids=["no-connection", "repeated-by-a-server", "goodbye", "words-only", "error", "other"],
)
def test_words_are_believed_of_the_line_itself_only(details, goodbye, expected):
    """A server that repeats grpcio's words of a call of its own has seen this one."""
    relay = SimpleNamespace(path=PATH, ended=False, on_end=None, goodbye=goodbye)
    line = Line(relay, None, lambda _: None)
    assert expected is line.never_sent(details)
