"""Counts of the requests of all worker processes, which `GET /metrics` answers."""

import os
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from service.serving.histograms import BYTES, SECONDS
from service.serving.labelled_counts import LabelledCounts, Labels
from service.serving.shared_table import SharedTable

#: Most rows of each table. Some 50 routes, each with a few models and statuses, take hundreds.
MOST_REQUEST_ROWS: Final = 2048
MOST_ROUTES: Final = 256
MOST_REFUSED_ROWS: Final = 1024
MOST_MODELS: Final = 256

#: Columns of a route: the histogram of durations, their sum, the histogram of sizes, their sum.
DURATION_SUM: Final = len(SECONDS) + 1
SIZES: Final = DURATION_SUM + 1
SIZE_SUM: Final = SIZES + len(BYTES) + 1


class Counters:
    """The counts of this process, and the sums over all.

    Args:
        folder: the folder that the worker processes of one service share; None with one process.

    Attributes:
        requests: requests and their sequences, by method, route, model, version and status.
        routes: durations and sizes, by route; see `DURATION_SUM` and the other columns.
        refused: refused requests, by model and reason.
        rejected: rejected versions, by model. The thread that loads versions counts them.
        in_flight: one number, the requests that this process is answering.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder / "requests" if folder else None
        self.requests = LabelledCounts(5, 2, MOST_REQUEST_ROWS, folder, "requests")
        self.routes = LabelledCounts(1, SIZE_SUM + 1, MOST_ROUTES, folder, "routes")
        self.refused = LabelledCounts(2, 1, MOST_REFUSED_ROWS, folder, "refused")
        self.rejected = LabelledCounts(1, 1, MOST_MODELS, folder, "rejected")
        self._rows: dict[Labels, tuple[memoryview[float], memoryview[float]]] = {}  # of a request and its route
        layout = [("retired", "i8"), ("process", "i8"), ("number", "i8"), ("in_flight", "f8", (1,))]
        self._worker = SharedTable(np.dtype(layout), folder, "worker")
        own = self._worker.own
        own["process"], own["number"], own["in_flight"] = os.getpid(), self._worker.number, 0
        self.in_flight = memoryview(own["in_flight"][0]).cast("B").cast("d")

    def count(self, labels: Labels, sequences: int, seconds: float, size: int) -> None:
        """Count a request: its labels, its sequences, its duration, and the bytes of its body."""
        rows = self._rows.get(labels)
        if rows is None:
            rows = self.requests[labels], self.routes[labels[1:2]]
            if len(self._rows) < MOST_REQUEST_ROWS:
                self._rows[labels] = rows
        of_request, of_route = rows
        of_request[0] += 1
        if sequences:
            of_request[1] += sequences
        of_route[bisect_left(SECONDS, seconds)] += 1
        of_route[DURATION_SUM] += seconds
        if size:
            of_route[SIZES + bisect_left(BYTES, size)] += 1
            of_route[SIZE_SUM] += size

    def count_refusal(self, model: str, reason: str) -> None:
        """Count a refused request."""
        self.refused[model, reason][0] += 1

    def count_rejection(self, model: str) -> None:
        """Count a rejected version."""
        self.rejected[(model,)][0] += 1

    def workers(self) -> Mapping[int, tuple[str, int]]:
        """Return the number and the requests in flight of each worker, by process id; some may have ended."""
        return {
            int(table["process"][0]): (str(table["number"][0]), int(table["in_flight"][0, 0]))
            for table in self._worker.all()
        }
