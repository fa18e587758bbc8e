"""Changes that follow each other, as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from meshlib.route.headers import HeaderChanges

NAMES = st.sampled_from(["x-a", "X-A", "x-b", "x-c"])
PAIRS = st.lists(st.tuples(NAMES, st.sampled_from("123")), max_size=3)
# A document says each name once for each kind of change, as it is an object.
ONCE = st.dictionaries(st.sampled_from(["x-a", "X-B", "x-c"]), st.sampled_from("456"), max_size=3)
CHANGES = st.builds(
    lambda add, over, remove: HeaderChanges(tuple(add.items()), tuple(over.items()), tuple(remove)),
    ONCE,
    ONCE,
    st.lists(NAMES, max_size=2),
)


def by_name(headers):
    """The values of each name, in order; the order of names among each other means nothing."""
    return {name.lower(): headers.getall(name) for name in headers}


@given(PAIRS, CHANGES, CHANGES)
def test_one_after_the_other_is_both_at_once(headers, first, second):
    """`first.then(second)` does to headers what the first does, and then the second."""
    before = CIMultiDict(headers)
    after = second.applied(first.applied(before))
    assert by_name(after) == by_name(first.then(second).applied(before))


@given(CHANGES)
def test_nothing_is_the_neutral_one(changes):
    """Before and after anything, changes that change nothing change nothing."""
    nothing = HeaderChanges()
    assert changes == nothing.then(changes) == changes.then(nothing)


@given(PAIRS, CHANGES, CHANGES)
def test_answers_are_changed_alike(headers, first, second):
    """The same holds for headers as they were received."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    after = second.applied_raw(first.applied_raw(raw))
    texts = [
        CIMultiDict((name.decode(), value.decode()) for name, value in each)
        for each in (after, first.then(second).applied_raw(raw))
    ]
    assert by_name(texts[0]) == by_name(texts[1])
