"""What is measured of this process, from files of a cgroup that the test writes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from meshlib.config import ShedConfig
from meshlib.runtime import new_rng
from meshlib.serve.shed import CpuMeter, Sensor, quota_of
from meshlib.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, 0.0),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.0),
        ({"cpu.max": "rubbish"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_quota_of_a_cgroup(tmp_path, files, cores):
    """Version 2 and version 1; without a quota there is none."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores == quota_of(tmp_path)


def test_the_share_of_a_quota(tmp_path):
    """Half a processor's worth of a quota of half a processor is all of it."""
    clock = FakeClock()
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\nuser_usec 1\n")
    meter = CpuMeter(clock, tmp_path)
    assert 0.0 == meter.share()
    clock.advance(2)
    (tmp_path / "cpu.stat").write_text("usage_usec 2000000\nuser_usec 1\n")
    assert pytest.approx(1.0) == meter.share()


def test_without_a_quota_it_is_the_process(tmp_path):
    """Its own processor time, of all processors it may use."""
    clock = FakeClock()
    meter = CpuMeter(clock, tmp_path)
    meter.share()
    clock.advance(1000)
    assert 0.0 <= meter.share() < 1.0


class Measured:
    """A shedder that tells when it was told."""

    def __init__(self):
        self.lags, self.heard = [], threading.Event()

    def measured(self, *, lag, cpu):
        self.lags.append(lag)
        self.heard.set()


def test_a_loop_that_is_held_up_is_late():
    """What keeps the loop from turning is measured, by the next tick."""
    measured = Measured()
    sensor = Sensor(measured, 0.001, FakeClock())

    async def main():
        loop = asyncio.get_running_loop()
        sensor.watch_loop()
        held_up_until = loop.time() + 0.05
        while loop.time() < held_up_until:
            pass  # what an application must not do
        await asyncio.to_thread(measured.heard.wait, 10)
        sensor.stop()

    asyncio.run(main())
    assert measured.lags[0] > 0.04


def test_threads_are_measured_once_a_process():
    """Asking again starts no second thread."""
    import time

    measured = Measured()
    sensor = Sensor(measured, 0.001, time.monotonic)
    for _ in range(3):
        sensor.watch_threads()
    assert measured.heard.wait(10)
    assert 1 == sum(thread.name == "meshlib-load" for thread in threading.enumerate())
    sensor.stop()


def test_the_settings_are_those_of_the_shedder():
    """A sensor and its shedder measure by one configuration."""
    from meshlib.policy.shed import Shedder

    shedder = Shedder(ShedConfig(lag=0.5), new_rng())
    shedder.measured(lag=0.4, cpu=0.0)
    assert not shedder.why
