from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from math import inf, nan
from pathlib import Path
from random import Random

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Call, Target
from meshlib.route.split import Leg, Split, check_weights, whole
from meshlib.route.sticky import Sticky

V1, V2, V3 = (Target("backend", version) for version in ("v1", "v2", "v3"))


class FixedRng:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def randrange(self, stop: int, /) -> int:
        return int(self.value * stop)


def split(*weights: float, sticky: Sticky | None = None) -> Split:
    """Legs to v1, v2, v3 with these weights."""
    targets = (V1, V2, V3)
    return Split(tuple(map(Leg, targets, weights)), sticky)


@pytest.mark.parametrize(
    ("drawn", "target"),
    [(0.0, V1), (0.8999, V1), (0.9, V2), (0.9499, V2), (0.95, V3), (1 - 2**-53, V3)],
)
def test_chance_picks_the_leg_whose_range_holds_the_draw(drawn, target):
    """The unit interval is cut in the order and size of the weights."""
    assert target == split(90, 5, 5).choose(Call("backend"), FixedRng(drawn)).target


@pytest.mark.parametrize("total", [99.999, 100.0, 100.001])
def test_no_draw_falls_off_the_end(total):
    """The greatest number a generator gives still lies in the last range, zero legs behind it."""
    last = split(total - 10, 10, 0).choose(Call("backend"), FixedRng(1 - 2**-53))
    assert V2 == last.target


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
def test_a_leg_without_weight_is_never_chosen(drawn):
    """Zero means zero, at the edges of the draw too."""
    assert V2 == split(0, 100, 0).choose(Call("backend"), FixedRng(drawn)).target


def test_a_single_target_asks_nobody():
    """Where there is no choice, neither chance nor a key is looked at."""
    assert V1 == whole(V1).choose(Call("backend"), rng=None).target


@pytest.mark.parametrize(
    ("weights", "path"),
    [
        ((90, -10, 20), "Splits[1].Weight"),
        ((90, nan, 10), "Splits[1].Weight"),
        ((inf, 0, 0), "Splits[0].Weight"),
        ((0, 0, 100.5), "Splits[2].Weight"),
        ((90, 10.002), "Splits"),
        ((90, 9.99), "Splits"),
        ((), "Splits"),
    ],
)
def test_weights_that_make_no_whole_are_refused_by_name(weights, path):
    """The path says which weight, or that it is their sum."""
    with pytest.raises(ConfigError) as refused:
        split(*weights)
    assert path == refused.value.path


@pytest.mark.parametrize("weights", [(99.99, 0.01), (33.34, 33.33, 33.33), (90, 10.0009)])
def test_weights_within_the_tolerance_are_taken(weights):
    """Two decimals, and what floats are off, are fine."""
    check_weights(weights)
    assert weights == tuple(leg.weight for leg in split(*weights).legs)


def test_a_target_that_comes_twice_is_refused():
    """Two legs to one place would be one leg with a secret."""
    with pytest.raises(ConfigError, match=r"Splits\[1\]: 'v1.backend'"):
        Split((Leg(V1, 50), Leg(V1, 50)))


def test_equal_legs_make_equal_splits():
    """What is computed takes no part in equality; weights and stickiness do."""
    sticky = Sticky(header="x-user")
    assert split(90, 10, sticky=sticky) == split(90, 10, sticky=Sticky(header="X-User"))
    assert hash(split(90, 10)) == hash(split(90, 10))
    assert split(90, 10) != split(80, 20)
    assert split(90, 10) != split(90, 10, sticky=sticky)


def test_a_key_decides_alone():
    """Calls with the same key go to the same leg, whatever chance says."""
    sticky = split(50, 50, sticky=Sticky(header="x-user"))
    call = Call("backend", headers={"x-user": "anna"})
    assert 1 == len({sticky.choose(call, FixedRng(n / 10)).target for n in range(10)})


@pytest.mark.parametrize("headers", [{"x-other": "anna"}, {"x-user": ""}])
def test_without_a_key_chance_decides(headers):
    """A call that carries no key, or an empty one, is split at random."""
    sticky = split(50, 50, sticky=Sticky(header="x-user"))
    call = Call("backend", headers=headers)
    chosen = [sticky.choose(call, FixedRng(drawn)).target for drawn in (0.1, 0.9)]
    assert [V1, V2] == chosen


def test_the_order_of_the_legs_does_not_move_a_key():
    """A document that is written the other way round means the same."""
    there, back = split(70, 30), Split((Leg(V2, 30), Leg(V1, 70)))
    for number in range(300):
        assert there.stick(f"user-{number}").target == back.stick(f"user-{number}").target


@pytest.mark.parametrize("key", ["\ud800", "é" * 1000, "\0", " "])
def test_any_text_is_a_key(key):
    """Keys come from the network: none of them raises."""
    assert split(50, 50).stick(key) in split(50, 50).legs


def test_a_key_sticks_in_another_process():
    """The leg depends on nothing that a process draws at its start, such as the salt of hash()."""
    program = (
        "from meshlib.model import Target; from meshlib.route.split import *\n"
        "s = Split((Leg(Target('backend', 'v1'), 50), Leg(Target('backend', 'v2'), 50)))\n"
        "print(''.join(s.stick(f'user-{n}').target.subset[1] for n in range(64)))"
    )
    source = str(Path(sys.modules["meshlib"].__file__).parents[1])
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for salt in ("1", "2")
    }
    here = "".join(split(50, 50).stick(f"user-{n}").target.subset[1] for n in range(64))
    assert {here} == answers


def test_keys_of_one_service_say_nothing_about_another():
    """A user on the canary of one service is no likelier to be on that of the next."""
    other = Split((Leg(Target("database", "v1"), 50), Leg(Target("database", "v2"), 50)))
    both = Counter(
        (split(50, 50).stick(key).target.subset, other.stick(key).target.subset)
        for key in map(str, range(4000))
    )
    assert all(850 < count < 1150 for count in both.values()), both


def test_a_seeded_generator_makes_a_repeatable_choice():
    """Chance comes from the argument and from nowhere else."""
    runs = [
        [split(50, 50).choose(Call("backend"), rng).target for _ in range(50)]
        for rng in (Random(7), Random(7))
    ]
    assert runs[0] == runs[1]
    assert {V1, V2} == set(runs[0])
