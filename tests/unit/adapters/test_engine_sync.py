"""What happens to an attempt whose pool is replaced under it."""

import socket
import ssl
from contextlib import closing

import pytest

from meshlib.adapters.engine_sync import SyncEngine
from meshlib.errors import ConnectFailed
from meshlib.model import Attempt, Call, Endpoint, Target
from meshlib.runtime import run_sync


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return Endpoint("nobody", *listener.getsockname())


def attempt_at(endpoint):
    return Attempt(Call("nobody", target=Target("nobody")), endpoint=endpoint, connect_timeout=5.0)


def test_a_rotation_between_choosing_a_pool_and_using_it(nobody):
    """The attempt goes on with the new pool: nothing was sent, so nothing was interrupted.

    Known to fail as Interrupted, which a POST is not retried after, when the engine does not look
    for another pool (hand mutation).
    """
    context, generation = ssl.create_default_context(), [1]
    asked = []

    def clock():
        asked.append(generation[0])
        if len(asked) == 1:  # between the two
            generation[0] = 2
            engine._pool(Target("nobody"), nobody)
        return 0.0

    engine = SyncEngine(lambda _: (context, generation[0]), clock=clock, idle=20.0)
    with pytest.raises(ConnectFailed):
        run_sync(engine(attempt_at(nobody)))
    assert [1, 2] == asked
    engine.close()


def test_who_read_the_old_generation_last_does_not_bring_it_back(nobody):
    """A thread that is behind uses the pool of those who are ahead, and leaves it open."""
    context, generation = ssl.create_default_context(), [2]
    engine = SyncEngine(lambda _: (context, generation[0]), clock=lambda: 0.0, idle=20.0)
    ahead = engine._pool(Target("nobody"), nobody)
    generation[0] = 1
    assert ahead is engine._pool(Target("nobody"), nobody)
    engine.close()
