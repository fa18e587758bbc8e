"""
The known hard bugs of meshes, and the tests that fail when one of them is made again.

Each test says in its docstring which bug it is about, and what it catches: a naive twin beside it,
or a mutation of the code that was tried by hand.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

ROWS = (
    "retry storm, amplification",
    "hedge ignores budget, budget cancels hedge",
    "stale discovery",
    "mass vanish",
    "thundering reconnect",
    "Consul index reset, busy loop",
    "leaf non-blocking stale",
    "root overlap missing",
    "clock skew",
    "TLS reload on a live server",
    "breaker flapping",
    "stuck half-open",
    "counting 429 and 4xx wrong, cancellations as failures",
    "shared breaker reset on worker start",
    "ejecting the last or all hosts",
    "P2C starvation, with replacement",
    "fast-fail attraction",
    "EWMA stuck at peak",
    "weighted bursts",
    "keep-alive race",
    "outlier interval resets the consecutive counter",
    "locality failover silently inert",
    "rate limiter's server down",
    "metric cardinality",
    "trace lost on thread or executor",
    "fork after init",
    "loop blocked, false timeouts eject peers",
    "body replay",
    "spoofed mesh headers",
    "mirrored side effects",
    "deregister-before-drain order",
)

TESTS = {
    "retry storm, amplification": ["unit/stack/test_tree.py::test_retry_storm"],
    "hedge ignores budget, budget cancels hedge": [
        "unit/stack/test_hedge.py::test_hedge_failure_is_never_worse_than_none",
        "unit/stack/test_hedge.py::test_without_budget_the_first_goes_on_alone",
    ],
    "stale discovery": ["unit/stack/test_blame.py::TestStaleDiscovery::test_stale_discovery"],
    "mass vanish": ["unit/control/consul/test_guard.py::test_mass_vanish"],
    "thundering reconnect": ["property/test_consul_pace.py::test_thundering_reconnect"],
    "Consul index reset, busy loop": [
        "property/test_consul_pace.py::test_consul_index_reset_and_a_change_behind_it",
        "property/test_consul_pace.py::test_consul_busy_loop_of_the_naive_twin",
    ],
    "leaf non-blocking stale": ["consul/test_identity.py::test_leaf_non_blocking_stale"],
    "root overlap missing": ["wire/test_tls_rotation.py::test_root_overlap_missing"],
    "clock skew": ["wire/test_clock_skew.py::test_clock_skew"],
    "TLS reload on a live server": [
        "wire/test_tls_rotation.py::test_the_next_handshake_uses_the_new_leaf"
    ],
    "breaker flapping": ["property/test_policy_circuit.py::test_breaker_flapping"],
    "stuck half-open": ["property/test_policy_circuit.py::test_stuck_half_open"],
    "counting 429 and 4xx wrong, cancellations as failures": [
        "unit/stack/test_blame.py::TestStatuses::test_counting_429_and_4xx_wrong",
        "unit/stack/test_balance.py::test_a_cancelled_call_is_neutral",
    ],
    "shared breaker reset on worker start": [
        "redis/test_redis_limit.py::test_shared_breaker_reset_on_worker_start",
        "unit/policy/test_circuit.py::test_settings_do_not_reset_what_was_learned",
    ],
    "ejecting the last or all hosts": [
        "unit/balance/test_panic.py::test_ejecting_last_or_all_hosts"
    ],
    "P2C starvation, with replacement": [
        "unit/balance/test_peak_ewma.py::test_p2c_starvation",
        "unit/balance/test_least_request.py::test_of_two_the_idler_always_wins",
    ],
    "fast-fail attraction": ["unit/balance/test_latency.py::test_fast_fail_attraction"],
    "EWMA stuck at peak": ["unit/balance/test_latency.py::test_ewma_stuck_at_peak"],
    "weighted bursts": ["unit/balance/test_round_robin.py::test_weighted_bursts"],
    "keep-alive race": ["wire/faces/test_faces.py::test_keep_alive_race"],
    "outlier interval resets the consecutive counter": [
        "unit/policy/test_outlier.py::test_outlier_interval_resets_consecutive_counter"
    ],
    "locality failover silently inert": [
        "unit/balance/test_locality.py::test_locality_failover_silently_inert"
    ],
    "rate limiter's server down": ["redis/test_redis_limit.py::test_rl_server_down"],
    "metric cardinality": ["property/test_metric_cardinality.py::test_metric_cardinality"],
    "trace lost on thread or executor": [
        "unit/drivers/test_threads.py::test_trace_lost_on_thread_or_executor"
    ],
    "fork after init": ["wire/test_store_processes.py::test_fork"],
    "loop blocked, false timeouts eject peers": [
        "unit/stack/test_blame.py::TestSelfBlame::test_loop_blocked_and_false_timeouts_eject_peers"
    ],
    "body replay": ["unit/adapters/test_body.py::test_body_replay"],
    "spoofed mesh headers": ["unit/serve/test_context.py::test_spoofed_mesh_headers"],
    "mirrored side effects": ["unit/stack/test_mirror.py::test_mirrored_side_effects"],
    "deregister-before-drain order": ["wire/serve/test_drain.py::test_the_order_of_leaving"],
}

PROOFS = ("naive", "mutation", "by hand")
"""One of these words says how the test was seen to fail."""


def docstring(test: str) -> str:
    """Of the test of this id.  Raises LookupError if there is none."""
    file, *names = test.split("::")
    path = ROOT / file
    if not path.is_file():
        raise LookupError(f"there is no file tests/{file}")
    node: ast.AST = ast.parse(path.read_text())
    for name in names:
        found = [
            inner
            for inner in ast.iter_child_nodes(node)
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and inner.name == name
        ]
        if len(found) != 1:
            raise LookupError(f"there are {len(found)} called {name} in tests/{file}")
        node = found[0]
    return ast.get_docstring(node) or ""


def test_every_bug_has_a_test() -> None:
    """The table is complete, and names nothing that is no row."""
    assert set(ROWS) == TESTS.keys()
    assert all(TESTS.values())


@pytest.mark.parametrize("test", sorted(test for tests in TESTS.values() for test in tests))
def test_it_exists_and_says_what_it_catches(test: str) -> None:
    """Nobody renames or drops one without being told here."""
    said = docstring(test).lower()
    assert "known hard bug" in said or "known bug" in said
    assert any(proof in said for proof in PROOFS)
