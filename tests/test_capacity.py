"""The capacity model: its simulation agrees with formulas of queueing theory, and it counts processes."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.capacity import ServiceTimes, predict, processes_for, simulate
from benchmarks.open_loop import poisson

#: One request after the other, a millisecond each.
ONE_BY_ONE = ServiceTimes(sizes=(1, 2), busy=(0.001, 0.002), apart=0.001, idle=(0.0,), more=((0.0,),))
#: A batch takes as long as one request.
BATCHES = ServiceTimes(sizes=(1, 1000), busy=(0.001, 0.001), apart=0.0, idle=(0.0,), more=((0.0,),))


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8])
def test_one_by_one_the_mean_wait_is_that_of_a_queue_with_fixed_times(load: float) -> None:
    """M/D/1: a request waits for load / (2 (1 - load)) times the time of one. Source: Pollaczek and Khinchine."""
    rng = np.random.default_rng(0)
    arrivals = poisson(load * 1000, 200_000 / (load * 1000), rng)
    wait = simulate(arrivals, ONE_BY_ONE, rng).mean() - 0.001
    assert wait == pytest.approx(0.001 * load / (2 * (1 - load)), rel=0.05)


def test_what_has_arrived_runs_in_one_batch() -> None:
    """Requests wait for the end of a batch and the next one; a request that finds the process idle does not wait."""
    arrivals = np.array([0.0, 0.0004, 0.0009, 0.5])
    latencies = simulate(arrivals, BATCHES, np.random.default_rng(0))
    np.testing.assert_allclose(latencies, [0.001, 0.0016, 0.0011, 0.001])


def test_answers_of_a_batch_come_one_after_the_other() -> None:
    """The last answer ends the batch."""
    times = ServiceTimes(sizes=(1, 3), busy=(0.001, 0.003), apart=0.0005, idle=(0.0,), more=((0.0,),))
    np.testing.assert_allclose(simulate(np.zeros(3), times, np.random.default_rng(0)), [0.002, 0.0025, 0.003])


def test_a_process_that_was_idle_takes_longer() -> None:
    """The additional time is that of the longest measured idle time that is not longer."""
    times = ServiceTimes(sizes=(1, 2), busy=(0.001, 0.002), apart=0.001, idle=(0.0, 0.01), more=((0.0,), (0.004,)))
    latencies = simulate(np.array([0.02, 0.03, 0.05]), times, np.random.default_rng(0))
    np.testing.assert_allclose(latencies, [0.005, 0.001, 0.005])


def test_more_load_takes_longer() -> None:
    """Both percentiles rise with the rate."""
    found = [predict([ONE_BY_ONE], rate) for rate in (100, 400, 700, 900)]
    assert all(one.p50 <= other.p50 and one.p99 < other.p99 for one, other in pairwise(found))


def test_processes_are_as_few_as_the_latency_allows() -> None:
    """One process fewer would be too slow. A time that no process reaches has no number."""
    count = processes_for([ONE_BY_ONE], rate=3000, p99=0.004)
    assert count is not None
    assert predict([ONE_BY_ONE], 3000 / count).p99 <= 0.004 < predict([ONE_BY_ONE], 3000 / (count - 1)).p99
    assert processes_for([ONE_BY_ONE], rate=10, p99=0.0009) is None


def test_one_disturbed_measurement_does_not_count() -> None:
    """The prediction is the median of those of all measurements."""
    disturbed = ServiceTimes(sizes=(1, 2), busy=(0.001, 0.002), apart=0.001, idle=(0.0,), more=((0.5,),))
    assert predict([ONE_BY_ONE, disturbed, ONE_BY_ONE], 300).p99 < 0.01
