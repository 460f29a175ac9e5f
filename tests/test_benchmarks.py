"""The benchmark reads what wrk prints, and reports medians."""

import pytest

from benchmarks.load import Load, parse
from benchmarks.report import Outcome, Results, Scenario, markdown

PRINTED = """Running 2s test @ http://127.0.0.1:8600/predict
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.22ms    1.50ms  30.00ms   80.00%
    Req/Sec     3.08k   100.00     3.20k    70.00%
  Latency Distribution
     50%  980.00us
     75%    5.20ms
     90%    5.90ms
     99%    1.20s
  6164 requests in 2.00s, 2.50MB read
  Socket errors: connect 0, read 3, write 0, timeout 2
  Non-2xx or 3xx responses: 7
Requests/sec:   3082.24
Transfer/sec:      1.25MB
"""


def test_what_wrk_prints_is_read() -> None:
    """Rate, percentiles in any unit, and every kind of failure."""
    load = parse(PRINTED)
    assert (load.rate, load.p99, load.failed) == (3082.24, 1.2, 12)
    assert load.p50 == pytest.approx(980e-6)


def test_what_wrk_never_prints_is_refused() -> None:
    """Rather than reported as nothing."""
    with pytest.raises(ValueError, match="in what wrk printed"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_the_table_holds_medians() -> None:
    """Of the rounds, for each scenario; failures are summed and shown."""
    rounds = [Load(100, 0.001, 0.002, 0), Load(300, 0.003, 0.004, 1), Load(200, 0.002, 0.009, 0)]
    outcome = Outcome(starts=[9, 1.24, 1], memory=99.6, lost=3, loads={Scenario(1, 16): rounds})
    table = markdown(Results({"this service": outcome}, engine_seconds=[0.001, 0.005, 0.004]))
    assert "| | 1 sequence, concurrency 16 |" in table
    assert "| this service | 200; 2.00 / 4.00, 1 failed |" in table
    assert "| this service | 1.2 | 100 | 3 |" in table
    assert "The engine alone takes 4.00 ms for the sequences of one request of 1." in table
