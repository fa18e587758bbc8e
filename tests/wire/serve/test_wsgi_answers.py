"""What gunicorn would make of an application's mistakes, and what is made of them here."""

from __future__ import annotations

import http.client

import pytest


@pytest.fixture
def kept(spawn, client):
    """A connection to a WSGI server."""
    _, host, port, _ = spawn("wsgi", threads=2).wait_for("started")
    connection = client.open(host, port)
    yield connection
    connection.close()


def test_an_os_error_of_the_application_is_a_500(kept, client) -> None:
    """It is not taken for a broken connection, which clients would try again elsewhere."""
    assert 500 == client.ask(kept, "/broken")[0]


def test_an_answer_that_is_shorter_than_it_says_ends(kept, client) -> None:
    """The client learns of it at once, and does not wait for the rest."""
    with pytest.raises(http.client.IncompleteRead):
        client.ask(kept, "/short")


def test_others_keep_the_connection(kept, client) -> None:
    """Answers of the right length, or without a body, end no connection."""
    kept.request("HEAD", "/short")
    assert b"" == kept.getresponse().read()
    assert (200, b"hello") == client.ask(kept, "/file")
    assert 200 == client.ask(kept, "/")[0]
