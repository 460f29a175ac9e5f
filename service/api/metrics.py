"""The metrics of the service as families of Prometheus: requests, models, worker processes, build."""

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any, Final, get_args

from service import __version__
from service.api.counters import DURATION_SUM, SIZE_SUM, SIZES, Counters
from service.serving.histograms import BYTES, ROWS, SECONDS
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.statistics import Counts
from service.serving.versions import State
from service.settings import Settings

#: The states of at most so many versions of a model are shown: the newest, and those that are served.
MOST_VERSIONS: Final = 20

VERSION: Final = ("model", "version")
PREFIX: Final = "attention_service"


def families(repository: Repository, counters: Counters, settings: Settings) -> list[Any]:
    """Return all families except for those of attention. Any thread may call this."""
    models = [model for versions in repository.models.values() for model in versions.served.values()]
    workers = {process: worker for process, worker in counters.workers().items() if _is_alive(process)}
    return [
        *_families_of_requests(counters),
        *_families_of_versions([(model, model.statistics.counts()) for model in models], workers),
        *_families_of_states(repository, models, counters),
        *_families_of_workers(workers),
        _build(settings),
    ]


def _families_of_requests(counters: Counters) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    requests = CounterMetricFamily(
        f"{PREFIX}_requests",
        "Requests by the status of their answer; 499 if the client disconnected before its body was complete.",
        labels=("method", "route", *VERSION, "status"),
    )
    sequences = CounterMetricFamily(
        f"{PREFIX}_sequences", "Sequences in the requests that a model answered.", labels=VERSION
    )
    of_version: dict[tuple[str, str], float] = {}
    for labels, (count, rows) in counters.requests.totals().items():
        if count:
            method, route, model, number, status = map(str, labels)
            requests.add_metric((method, route, model, number, status), count)
            if model:
                of_version[model, number] = of_version.get((model, number), 0) + rows
    for version_labels, rows in of_version.items():
        sequences.add_metric(version_labels, rows)
    durations = HistogramMetricFamily(
        f"{PREFIX}_request_duration_seconds",
        "Time from the head of a request to the end of its answer.",
        labels=("route",),
    )
    sizes = HistogramMetricFamily(
        f"{PREFIX}_request_body_bytes", "Sizes of the bodies of the requests that have one.", labels=("route",)
    )
    for labels, row in counters.routes.totals().items():
        _add(durations, labels, SECONDS, row[:DURATION_SUM], row[DURATION_SUM])
        _add(sizes, labels, BYTES, row[SIZES:SIZE_SUM], row[SIZE_SUM])
    refused = CounterMetricFamily(
        f"{PREFIX}_refused",
        "Refused requests, by the reason; unknown paths and methods have none.",
        labels=("model", "reason"),
    )
    for labels, (count,) in counters.refused.totals().items():
        if count:
            refused.add_metric(tuple(map(str, labels)), count)
    yield from (requests, sequences, durations, sizes, refused)


def _families_of_versions(
    counted: Iterable[tuple[Model, Counts]], workers: Mapping[int, tuple[str, int]]
) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

    waiting = GaugeMetricFamily(f"{PREFIX}_queue_sequences", "Sequences that wait or run.", labels=(*VERSION, "worker"))
    queue = HistogramMetricFamily(
        f"{PREFIX}_queue_duration_seconds", "Time that answered requests waited for a call.", labels=VERSION
    )
    inference = HistogramMetricFamily(
        f"{PREFIX}_inference_duration_seconds", "Time of the calls of the engine.", labels=VERSION
    )
    batch = HistogramMetricFamily(
        f"{PREFIX}_batch_sequences",
        "Sequences in the calls of the engine; occlusions count as sequences.",
        labels=VERSION,
    )
    for model, counts in counted:
        labels = (model.card.name, str(model.version))
        for process, sequences in counts.waiting.items():
            if process in workers:
                waiting.add_metric((*labels, workers[process][0]), sequences)
        _add(queue, labels, SECONDS, counts.queue_histogram, counts.queue.seconds)
        _add(inference, labels, SECONDS, counts.call_histogram, sum(one.seconds for one in counts.calls.values()))
        buckets = [0] * (len(ROWS) + 1)
        for rows, calls in counts.calls.items():
            buckets[next((index for index, bound in enumerate(ROWS) if rows <= bound), -1)] += calls.count
        _add(batch, labels, ROWS, buckets, sum(rows * calls.count for rows, calls in counts.calls.items()))
    yield from (waiting, queue, inference, batch)


def _families_of_states(repository: Repository, models: Iterable[Model], counters: Counters) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    state = GaugeMetricFamily(
        f"{PREFIX}_model_state",
        "1 for the state of a version in the process that answers, 0 for the others.",
        labels=(*VERSION, "state"),
    )
    for name, versions in sorted(repository.models.items()):
        for index, status in enumerate(versions.statuses()):
            if index < MOST_VERSIONS or status.state == "live":
                for one in get_args(State):
                    state.add_metric((name, str(status.version), one), float(status.state == one))
    load = GaugeMetricFamily(
        f"{PREFIX}_model_load_seconds",
        "Time to read, verify and warm up a served version in the process that answers.",
        labels=VERSION,
    )
    for model in models:
        load.add_metric((model.card.name, str(model.version)), model.load_seconds)
    rejected = CounterMetricFamily(
        f"{PREFIX}_versions_rejected",
        "Versions that were rejected, once in each worker process.",
        labels=("model",),
    )
    for labels, (count,) in counters.rejected.totals().items():
        if count:
            rejected.add_metric(tuple(map(str, labels)), count)
    yield from (state, load, rejected)


def _families_of_workers(workers: Mapping[int, tuple[str, int]]) -> Iterator[Any]:
    from prometheus_client import ProcessCollector
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    in_flight = GaugeMetricFamily(
        f"{PREFIX}_requests_in_flight", "Requests that are being answered.", labels=("worker",)
    )
    found: dict[str, Any] = {}
    for process, (worker, requests) in sorted(workers.items(), key=lambda one: one[1]):
        in_flight.add_metric((worker,), requests)
        # It reads /proc; on systems without it, it returns nothing.
        for family in ProcessCollector(pid=partial(int, process), registry=None).collect():
            kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
            labelled = found.setdefault(family.name, kind(family.name, family.documentation, labels=("worker",)))
            for sample in family.samples:
                labelled.add_metric((worker,), sample.value)
    yield in_flight
    yield from found.values()


def _build(settings: Settings) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    labels = {
        "version": __version__,
        "python": platform.python_version(),
        "engine": settings.engine,
        "onnxruntime": _installed("onnxruntime"),
        "tensorflow": _installed("tensorflow"),
    }
    build = GaugeMetricFamily(
        f"{PREFIX}_build_info", "Always 1: versions of the service and its packages.", labels=tuple(labels)
    )
    build.add_metric(tuple(labels.values()), 1)
    return build


def _installed(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _add(
    family: Any, labels: Iterable[object], bounds: Sequence[float], buckets: Sequence[float], total: float
) -> None:
    """Add a histogram, unless it is empty.

    Args:
        family: the family.
        labels: the values of its labels.
        bounds: the upper bound of each bucket but the last.
        buckets: the count of each bucket.
        total: the sum of all values.
    """
    if any(buckets):
        named = [*map(str, bounds), "+Inf"]
        family.add_metric(tuple(map(str, labels)), list(zip(named, accumulate(buckets), strict=True)), total)


def _is_alive(process: int) -> bool:
    """Return whether a process has not ended."""
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True
