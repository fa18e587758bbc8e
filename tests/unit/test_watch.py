from __future__ import annotations

import threading

from meshlib.watch import Watch


def test_a_watch_begins_with_a_value_that_does_not_count():
    """There is something to read, and it says that nobody has set it."""
    watch = Watch("pending")
    assert ("pending", False) == (watch.value, watch.ready)
    assert "<Watch 'pending' (not set)>" == repr(watch)
    assert "<Watch 1>" == repr(Watch(1, ready=True))


def test_subscribers_hear_of_every_change():
    """They are told that, not what: the value is read from the watch."""
    watch, heard = Watch(0), []
    watch.subscribe(lambda: heard.append(watch.value))
    assert [True, True] == [watch.set(1), watch.set(2)]
    assert [1, 2] == heard


def test_an_equal_value_wakes_nobody():
    """Only the first set, even to what was there before, and changes count."""
    watch, heard = Watch(0), []
    watch.subscribe(lambda: heard.append(watch.value))
    assert [True, False, True] == [watch.set(0), watch.set(0), watch.set(1)]
    assert [0, 1] == heard


def test_who_subscribes_late_hears_at_once():
    """A value that is there is reported; one that was never set is not."""
    heard = []
    Watch(1, ready=True).subscribe(lambda: heard.append("set"))
    Watch(1).subscribe(lambda: heard.append("not set"))
    assert ["set"] == heard


def test_who_unsubscribes_hears_no_more():
    """Leaving twice is harmless, and the others stay."""
    watch, heard = Watch(0), []
    leave = watch.subscribe(lambda: heard.append("one"))
    watch.subscribe(lambda: heard.append("other"))
    leave()
    leave()
    watch.set(1)
    assert ["other"] == heard


def test_a_subscriber_may_leave_while_it_is_told():
    """The list being walked is not the list being changed."""
    watch, heard = Watch(0), []

    def once():
        heard.append("once")
        leave()

    leave = watch.subscribe(once)
    watch.subscribe(lambda: heard.append("always"))
    watch.set(1)
    watch.set(2)
    assert ["once", "always", "always"] == heard


def test_a_map_follows():
    """Values go through the function; equal results are dropped."""
    watch = Watch(1)
    parity = watch.map(lambda value: value % 2)
    heard = []
    parity.subscribe(lambda: heard.append(parity.value))
    assert (1, False) == (parity.value, parity.ready)
    for value in (1, 3, 4):
        watch.set(value)
    assert [1, 0] == heard


def test_a_map_of_a_value_that_is_there_is_ready():
    """What is mapped is ready when its source is."""
    assert Watch(2, ready=True).map(str).ready


def test_racing_writers_leave_the_map_with_the_last_value():
    """Whoever tells last, the map reads the newest value."""
    watch = Watch(-1)
    doubled = watch.map(lambda value: 2 * value)
    start = threading.Barrier(4)

    def write(offset):
        start.wait()
        for number in range(300):
            watch.set(4 * number + offset)

    threads = [threading.Thread(target=write, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 * watch.value == doubled.value
