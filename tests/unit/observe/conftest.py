"""Reading a page of metrics."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain


@pytest.fixture
def values():
    """What metrics say, by the name of the sample and the words of its labels."""

    def read(metrics, *, openmetrics=False):
        text = metrics.text(openmetrics=openmetrics)
        parse = read_open if openmetrics else read_plain
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in parse(text)
            for sample in family.samples
        }

    return read
