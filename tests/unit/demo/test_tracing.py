from __future__ import annotations

import json

from meshlib.demo import tracing


def spans(count, trace_id="aa"):
    return [{"trace_id": trace_id, "span_id": str(number)} for number in range(count)]


def test_spans_of_one_trace_are_joined_over_all_files(tmp_path):
    """Every process's file is read, and other traces are left out."""
    tracing.append(tmp_path / "traces/frontend.jsonl", spans(2) + spans(3, "bb"))
    tracing.append(tmp_path / "traces/backend.jsonl", spans(1))
    assert 3 == len(tracing.read(tmp_path, "aa"))


def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path):
    """What was being written when the process died is no span, the others are."""
    path = tmp_path / "traces/frontend.jsonl"
    tracing.append(path, spans(2))
    with path.open("a") as file:
        file.write(json.dumps(spans(1)[0])[:-4])
    assert 2 == len(tracing.read(tmp_path, "aa"))


def test_a_file_that_grew_too_long_begins_anew(tmp_path, monkeypatch):
    """One older file is kept, so the newest spans are always there."""
    monkeypatch.setattr(tracing, "MOST_BYTES", 300)
    path = tmp_path / "traces/frontend.jsonl"
    for _ in range(100):
        tracing.append(path, spans(1))
    kept = sorted(each.name for each in path.parent.iterdir())
    assert ["frontend.jsonl", "frontend.jsonl.1"] == kept
    assert 1 <= len(tracing.read(tmp_path, "aa")) < 30


def test_outside_a_request_there_is_no_trace():
    """Without a span the id is empty, not a row of zeros."""
    assert "" == tracing.current_trace()
