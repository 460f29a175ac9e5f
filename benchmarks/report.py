"""The results as a Markdown table, as JSON and as a chart."""

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.load import Load

LIMIT, OURS = "limit", "this service"


@dataclass(frozen=True)
class Scenario:
    """A load: the sequences in a request, and the number of concurrent connections."""

    sequences: int
    concurrency: int

    def __str__(self) -> str:
        return f"{self.sequences} sequence{'s' * (self.sequences > 1)}, concurrency {self.concurrency}"


@dataclass
class Outcome:
    """The measurements of one contestant.

    Attributes:
        starts: seconds from start to first answer, one entry for each round.
        memory: memory after the first answer, in MB.
        lost: valid requests that failed beside invalid ones.
        loads: for each scenario, one entry for each round.
    """

    starts: list[float]
    memory: float
    lost: int
    loads: dict[Scenario, list[Load]] = field(default_factory=dict)

    def median(self, scenario: Scenario, figure: str) -> float:
        """Return the median over the rounds of `rate`, `p50` or `p99`."""
        return float(statistics.median(getattr(load, figure) for load in self.loads[scenario]))


@dataclass
class Results:
    """All measurements.

    Attributes:
        outcomes: the measurements by contestant.
        engine_seconds: the engine's own time for the largest request, one entry for each round.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    engine_seconds: list[float] = field(default_factory=list)

    @property
    def scenarios(self) -> list[Scenario]:
        """The scenarios, in the order in which they ran."""
        return list(next(iter(self.outcomes.values())).loads)


def write(results: Results, directory: Path) -> None:
    """Write results.md, results.json and results.svg."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.md").write_text(markdown(results))
    (directory / "results.json").write_text(json.dumps(as_json(results), indent=1) + "\n")
    chart(results).savefig(directory / "results.svg", metadata={"Date": None})


def markdown(results: Results) -> str:
    """Return tables of medians: throughput and latency, then start, memory and lost requests."""
    rounds = len(results.engine_seconds)
    lines = [
        f"Medians of {rounds} alternated runs; {os.cpu_count()} cores, one for the server and one for wrk; "
        f"Python {platform.python_version()}. Answers per second, then p50 / p99 in milliseconds.",
        "",
        "| | " + " | ".join(map(str, results.scenarios)) + " |",
        "|---|" + "---|" * len(results.scenarios),
    ]
    for name, outcome in results.outcomes.items():
        cells = []
        for scenario in results.scenarios:
            rate, p50, p99 = (outcome.median(scenario, figure) for figure in ("rate", "p50", "p99"))
            failed = sum(load.failed for load in outcome.loads[scenario])
            cells.append(f"{rate:,.0f}; {p50 * 1e3:.2f} / {p99 * 1e3:.2f}" + f", {failed} failed" * (failed > 0))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| | start to first answer, s | memory, MB | lost of 80 |", "|---|---|---|---|"]
    for name, outcome in results.outcomes.items():
        lines.append(f"| {name} | {statistics.median(outcome.starts):.1f} | {outcome.memory:,.0f} | {outcome.lost} |")
    engine = statistics.median(results.engine_seconds)
    largest = max(results.scenarios, key=lambda scenario: scenario.sequences)
    lines += [
        "",
        f"The engine alone takes {engine * 1e3:.2f} ms for the sequences of one request of {largest.sequences}.",
    ]
    return "\n".join(lines) + "\n"


def as_json(results: Results) -> dict[str, object]:
    """Return the measurements of every run."""
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "engine_seconds": results.engine_seconds,
        "contestants": {
            name: {
                "start_seconds": outcome.starts,
                "memory_mb": outcome.memory,
                "lost_of_80": outcome.lost,
                "loads": [
                    {**asdict(scenario), "rounds": [asdict(load) for load in loads]}
                    for scenario, loads in outcome.loads.items()
                ],
            }
            for name, outcome in results.outcomes.items()
        },
    }


def chart(results: Results) -> Figure:
    """Draw the answers per second of single sequences, one group of bars for each contestant."""
    scenarios = [scenario for scenario in results.scenarios if scenario.sequences == 1]
    names = list(results.outcomes)[::-1]
    figure = Figure(figsize=(8, 0.5 * len(names) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(scenarios)
    for index, scenario in enumerate(scenarios):
        rates = [results.outcomes[name].median(scenario, "rate") for name in names]
        places = [place + 0.4 - (index + 0.5) * height for place in range(len(names))]
        axes.barh(
            places,
            rates,
            height,
            label=f"concurrency {scenario.concurrency}",
            color=("#c3d2e6", "#4c8bd6", "#1f5aa6")[index],
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("single sequences answered per second, one server core")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
