"""`python -m benchmarks.drift`: whether live attention shows changed traffic, and is silent about unchanged traffic."""

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ours import newest, ours
from benchmarks.servers import LOAD_CORE, Server, serving_alone
from service.artifact.card import ModelCard
from training.data import SequenceStore
from training.sources.synthetic import recurrent

SCRIPT = Path(__file__).with_name("drift.lua")
CONNECTIONS, SECONDS_BETWEEN_SCRAPES, LONGEST = 16, 1.0, 600
#: The alert of deploy/prometheus/attention.rules.yml: over at least ENOUGH sequences, the distance is above
#: FACTOR times the distance by chance + FLOOR.
FACTOR, FLOOR, ENOUGH = 5, 0.02, 100


@dataclass(frozen=True)
class Scrape:
    """The metrics of the model at one time.

    Attributes:
        at: the time, in seconds.
        sequences: attention_sequences_total.
        mass: attention_mass_total, `(timesteps,)`.
        distance: attention_distance of the last minute, total variation.
        by_chance: attention_distance_by_chance of the last minute.
    """

    at: float
    sequences: float
    mass: NDArray[np.float64]
    distance: float
    by_chance: float


@dataclass(frozen=True)
class Alert:
    """The alert's expression for one version, as Prometheus evaluates it over two scrapes.

    Attributes:
        card: the version's card.
    """

    card: ModelCard

    def distance(self, first: Scrape, last: Scrape) -> float:
        """Return the total variation between the attention counted from one scrape to another and that of training."""
        assert self.card.attention is not None
        share = (last.mass - first.mass) / (last.sequences - first.sequences)
        return float(np.abs(share - self.card.attention.mean).sum() / 2)

    def threshold(self, first: Scrape, last: Scrape) -> float:
        """Return the value that the distance must exceed."""
        assert self.card.attention is not None
        counted = 1 / (last.sequences - first.sequences) + 1 / self.card.attention.sequences
        by_chance = float(np.sqrt(2 / np.pi * counted) * sum(self.card.attention.spread) / 2)
        return FACTOR * by_chance + FLOOR

    def excess(self, first: Scrape, last: Scrape) -> float:
        """Return the distance less the threshold; the alert fires above 0."""
        return self.distance(first, last) - self.threshold(first, last)


def main() -> None:
    """Post unchanged traffic, then moved traffic, and print how the metrics show them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument(
        "--model", default="before-lstm", help="model of the synthetic recurrent data (default: before-lstm)"
    )
    parser.add_argument("--requests", type=int, default=100_000, help="of unchanged traffic (default: 100000)")
    parser.add_argument("--moved", type=int, default=40_000, help="requests of moved traffic (default: 40000)")
    parser.add_argument("--column", type=int, default=5, help="timestep that the label moves to (default: 5)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: 2)")
    options = parser.parse_args()
    artifact = newest(options.artifacts / options.model)
    card = artifact.read().card()
    trained_on = int(str(card.training_options["attention_column"]))
    rng = np.random.default_rng(2**32)  # trainings have smaller seeds
    unchanged = recurrent(options.requests, card.timesteps, card.features, trained_on, rng).x
    moved = recurrent(options.moved, card.timesteps, card.features, options.column, rng).x
    contestant = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    contestant = replace(contestant, command=(*contestant.command, "--workers", str(options.workers)))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with serving_alone(contestant, contestant.body(unchanged[:1]), scratch) as server:
            probes = scrape(server, card).sequences
            with scraping(server, card) as before:
                sent = post(server, scratch, unchanged)
            with scraping(server, card) as after:
                sent += post(server, scratch, moved)
    counted = after[-1].sequences - probes
    report(Alert(card), before, after, options.workers)
    print(f"counted    {counted:,.0f} sequences of {sent:,} that were sent")


def post(server: Server, scratch: Path, sequences: SequenceStore) -> int:
    """Post each sequence in a request of its own; return the number of requests, including those unfinished at the end.

    Raises:
        RuntimeError: a request was not answered 200.
    """
    bodies = scratch / "bodies"
    with bodies.open("w") as file:
        for sequence in sequences[:]:
            file.write(json.dumps({"sequence": sequence.astype(np.float64).round(4).tolist()}) + "\n")
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{LONGEST}s", "--timeout", "10s"]
    printed = ""
    with subprocess.Popen(
        [*command, "-s", str(SCRIPT), server.url],
        env={**os.environ, "BODIES": str(bodies)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout or ():
            printed += line
            if line == "all answered\n":
                process.send_signal(signal.SIGINT)  # wrk otherwise runs until its time is over
    found = re.search(r"sent: (\d+), answered otherwise: (\d+)", printed)
    if found is None or int(found[2]) or int(found[1]) < len(sequences):
        raise RuntimeError(f"wrk: {printed}")
    return int(found[1])


@contextmanager
def scraping(server: Server, card: ModelCard) -> Iterator[list[Scrape]]:
    """Scrape at once, then once a second until the block ends, and once more when everything is counted."""
    scrapes = [scrape(server, card)]
    stop = threading.Event()

    def scrape_repeatedly() -> None:
        while not stop.wait(SECONDS_BETWEEN_SCRAPES):
            scrapes.append(scrape(server, card))

    scraper = threading.Thread(target=scrape_repeatedly)
    scraper.start()
    try:
        yield scrapes
    finally:
        stop.set()
        scraper.join()
    time.sleep(SECONDS_BETWEEN_SCRAPES)  # the service counts an answer up to a tenth of a second later
    scrapes.append(scrape(server, card))


def scrape(server: Server, card: ModelCard) -> Scrape:
    """Read /metrics once."""
    at = time.perf_counter()
    with urllib.request.urlopen(server.address("/metrics"), timeout=10) as response:  # noqa: S310
        text = response.read().decode()
    found: dict[str, float] = {}
    for name, labels, value in re.findall(r"^(attention_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        by_label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if by_label["model"] == card.name:
            parts = (by_label.get(label, "") for label in ("timestep", "window", "measure"))
            found[" ".join((name, *filter(None, parts)))] = float(value)
    return Scrape(
        at=at,
        sequences=found["attention_sequences_total"],
        mass=np.array([found[f"attention_mass_total {t}"] for t in range(card.timesteps)]),
        distance=found.get("attention_distance 1m total_variation", 0.0),
        by_chance=found.get("attention_distance_by_chance 1m", 0.0),
    )


def report(alert: Alert, before: Sequence[Scrape], after: Sequence[Scrape], workers: int) -> None:
    """Print how far attention moved, and when the alert fires.

    Args:
        alert: the alert of the version.
        before: scrapes of unchanged traffic.
        after: scrapes of moved traffic; the first is from before it.
        workers: number of worker processes of the service.
    """
    windows = [pair for pair in combinations(before, 2) if pair[1].sequences - pair[0].sequences >= ENOUGH]
    closest = max(windows, key=lambda pair: alert.excess(*pair))
    whole, moved = (before[0], before[-1]), (after[0], after[-1])
    print(f"service    {alert.card.name}, {alert.card.architecture}, {workers} worker processes")
    print(
        f"unchanged  {whole[1].sequences - whole[0].sequences:,.0f} requests, {len(before)} scrapes: distance "
        f"{alert.distance(*whole):.4f}, threshold {alert.threshold(*whole):.4f}"
    )
    print(
        f"           {len(windows):,} windows from scrape to scrape, of {min(map(_size, windows)):,.0f} to "
        f"{max(map(_size, windows)):,.0f} requests: distance - threshold is {alert.excess(*closest):+.4f} at most"
    )
    print(
        f"moved      {moved[1].sequences - moved[0].sequences:,.0f} requests, {len(after)} scrapes: distance "
        f"{alert.distance(*moved):.4f}, threshold {alert.threshold(*moved):.4f}"
    )
    since = [alert.excess(after[0], one) > 0 for one in after[1:] if one.sequences - after[0].sequences >= ENOUGH]
    print(f"           shows from scrape {_first(since)} on, counting the traffic since it moved")
    at_all = [alert.excess(before[0], one) > 0 for one in after[1:]]
    print(f"           shows from scrape {_first(at_all)} on, counting all {_size(whole):,.0f} before it, too")
    minute = [one.distance > FACTOR * one.by_chance + FLOOR for one in after[1:]]
    print(f"           shows from scrape {_first(minute)} on in attention_distance of the last minute")


def _size(window: tuple[Scrape, Scrape]) -> float:
    return window[1].sequences - window[0].sequences


def _first(shown: Sequence[bool]) -> str:
    """Return the first place from which all are true, counting from 1; "none" without one."""
    quiet = [number for number, one in enumerate(shown, 1) if not one]
    start = max(quiet, default=0) + 1
    return str(start) if start <= len(shown) else "none"


if __name__ == "__main__":
    main()
