"""The benchmarks parse the output of wrk, and report medians."""

from pathlib import Path

import polars as pl
import pytest

from benchmarks import compare
from benchmarks.killing import differences
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


def test_the_output_of_wrk_is_parsed() -> None:
    """The result holds the rate, percentiles in seconds, and the sum of all failures."""
    load = parse(PRINTED)
    assert (load.rate, load.p99, load.failed) == (3082.24, 1.2, 12)
    assert (load.refused, load.broken) == (7, 5)
    assert load.p50 == pytest.approx(980e-6)


def test_other_output_of_wrk_is_refused() -> None:
    """A missing figure raises ValueError."""
    with pytest.raises(ValueError, match="in the output of wrk"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_the_table_holds_medians() -> None:
    """Each cell is the median of the rounds of a scenario; failures are summed and shown."""
    rounds = [Load(100, 0.001, 0.002, 0, 0), Load(300, 0.003, 0.004, 0, 1), Load(200, 0.002, 0.009, 0, 0)]
    outcome = Outcome(starts=[9, 1.24, 1], memory=99.6, lost=3, loads={Scenario(1, 16): rounds})
    table = markdown(Results({"this service": outcome}, engine_seconds=[0.001, 0.005, 0.004]))
    assert "| | 1 sequence, concurrency 16 |" in table
    assert "| this service | 200; 2.00 / 4.00, 1 failed |" in table
    assert "| this service | 1.2 | 100 | 3 |" in table
    assert "The engine alone takes 4.00 ms for the sequences of one request of 1." in table


def test_a_comparison_holds_medians_and_ratios_of_rounds() -> None:
    """A ratio is the median of the rounds' ratios; a server without values has empty cells."""
    table = compare.markdown(
        {
            "1 sequence: requests/s": {"old": [100, 300, 200], "new": [110, 270, 200], "plain": [100, 100, 100]},
            "binary: requests/s": {"old": [50, 50, 50], "new": [25, 50, 100]},
        }
    )
    assert "| | old | new | plain | new/old | new/plain |" in table
    assert "| 1 sequence: requests/s | 200 | 200 | 100 | 1.000 | 2.000 |" in table
    assert "| binary: requests/s | 50.00 | 50.00 |  | 1.000 |  |" in table


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ([1, 2, 3, 4], []),
        ([1, 3, 2, 4], ["the parts: differ, 4 rows and 4"]),
        ([1, 2, 3], ["the parts: differ, 3 rows and 4", "the parts: differ as sorted tables"]),
        (
            [1, 2, 3, 4, 4],
            [
                "the parts: differ, 5 rows and 4",
                "the parts: differ as sorted tables",
                "the parts: a row is there twice",
            ],
        ),
    ],
)
def test_differences_of_two_runs(tmp_path: Path, changed: list[int], problems: list[str]) -> None:
    """Another order, a missing row, and a row that is there twice are found."""
    for name, rows in {"output": changed, "expected": [1, 2, 3, 4]}.items():
        (tmp_path / name / "_rejected").mkdir(parents=True)
        pl.DataFrame({"row": rows[:2], "prediction": 0.5}).write_parquet(tmp_path / name / "part-00000.parquet")
        pl.DataFrame({"row": rows[2:], "prediction": 0.5}).write_parquet(tmp_path / name / "part-00001.parquet")
        rejected = pl.DataFrame({"file": ["a"], "row": [9], "reason": ["wrong"]})
        rejected.write_parquet(tmp_path / name / "_rejected" / "part-00001.parquet")
    assert differences(tmp_path / "output", tmp_path / "expected") == problems
