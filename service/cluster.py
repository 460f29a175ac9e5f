"""Connections to a Ray cluster, for trainings and for scoring in bulk."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from service.errors import how_to_install

#: Longest time to wait until the head of a cluster can be reached.
SECONDS: Final = 10


class ClusterError(Exception):
    """A Ray cluster cannot be used. The message has one line."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a Ray cluster, and yield the module `ray`. At the end of the block, its tasks end.

    An error of a task is raised as it was raised there.

    Args:
        address: `HOST:6379`; `auto` for the cluster of this machine; `local` for a new one, which ends with the block.

    Raises:
        ClusterError: Ray is not installed, there is no such cluster, or a task has no outcome.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ModuleNotFoundError:
        raise ClusterError(f"--ray needs the module 'ray': {how_to_install('ray')}") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here reports nothing
    try:
        if ":" in address:  # Ray itself tries for many minutes
            place = urlsplit(f"//{address.removeprefix('ray://')}")
            socket.create_connection((place.hostname or "", place.port or 0), SECONDS).close()
        context = ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"--ray {address}: expected the address of a cluster: {_first_line(error)}") from error
    with context:
        try:
            yield ray
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise ClusterError(f"--ray {address}: a task has no outcome: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
