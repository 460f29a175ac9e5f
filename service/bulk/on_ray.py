"""Runs the units of a plan on a Ray cluster."""

import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from service.bulk.address import is_address
from service.bulk.output import MANIFEST
from service.bulk.source import Unit
from service.bulk.worker import Job, score_unit
from service.errors import ScoringError

#: How often Ray runs a unit again whose process or node was lost.
RETRIES: Final = 3


def on_ray(ray: Any, workers: int | None, job: Job, units: Sequence[Unit]) -> Iterator[Unit]:
    """Run units as tasks of a Ray cluster, and yield each when it is done.

    Ray gives the tasks to processes that it keeps, so each opens the version once. A unit whose process or node was
    lost runs again: as its part is published by one rename, no sequence is written twice.

    Args:
        ray: the module, connected as by `service.cluster.connected`, which raises the errors of tasks.
        workers: how many run at once; None for one on each CPU of the cluster.
        job: what the units have in common.
        units: the units.
    """
    task, stored = ray.remote(max_retries=RETRIES)(score_on_node), ray.put(job)
    begun = ((task.remote(stored, unit), unit) for unit in units)
    running = dict(islice(begun, workers or max(1, int(ray.cluster_resources().get("CPU", 0)))))
    while running:
        for done in ray.wait(list(running))[0]:
            ray.get(done)
            yield running.pop(done)
            running.update(islice(begun, 1))


def score_on_node(job: Job, unit: Unit) -> None:
    """Score a unit.

    Raises:
        ScoringError: this node does not have the files of the run, or the unit cannot be scored.
    """
    for path in (str(job.version), str(job.output / MANIFEST), job.sources[unit.source].path):
        if not is_address(path) and not Path(path).exists():
            raise ScoringError(
                f"{path}: no such file on node {socket.gethostname()}: artifacts, input and output must be in folders "
                "that all nodes share under the same names"
            )
    score_unit(job, unit)
