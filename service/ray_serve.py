"""The service on a Ray cluster: `serve run service.ray_serve:app NAME=VALUE …`, or `deploy/ray/serve.yaml`.

Each replica is a process with the app of `create_app`. The replicas of a node share counts as worker processes do.
"""

import asyncio
import logging.config
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ray
import uvicorn
from fastapi import FastAPI
from pydantic import Field
from ray import serve
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import __version__
from service.api.request_headers import REQUEST_ID_HEADER
from service.app import create_app, tune_process
from service.logs import log_config
from service.settings import Settings

#: Settings that a replica does not have, and what to do instead.
REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("host", "port", "uds", "fd", "keep_alive"), "Serve listens, so set its http_options"),
    **dict.fromkeys(("head_timeout", "write_timeout"), "the ingress of Serve reads requests and writes answers"),
    **dict.fromkeys(
        ("tls_cert", "tls_key", "tls_key_password", "tls_client_ca"),
        "the ingress of Serve has no TLS, so put a proxy with TLS in front of it",
    ),
    "drain_delay": "Serve has a delay of its own, so set RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S",
    "workers": "replicas are the processes, so set num_replicas or autoscaling_config of the deployment",
    "model_control": "a request to load or unload a model reaches only one replica",
}
#: Requests at once that a replica takes beyond `max_requests`: those of routes that run no model. With fewer, Serve
#: would let requests wait that the service would refuse.
OTHER_REQUESTS: Final = 64
#: Serve keeps a replica that it stops reachable for this time, in seconds, by its variable below.
REACHABLE_SECONDS: Final = 30.0
REACHABLE: Final = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
#: Time from one health check of a replica to the next, in seconds: so long a replica that died may not be replaced.
CHECK_SECONDS: Final = 2.0

ID_HEADER: Final = REQUEST_ID_HEADER.lower().encode()


class ReplicaSettings(Settings):
    """The settings of a replica."""

    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="port of each node that answers GET /metrics for all replicas of the node; none by default",
    )


def app(arguments: dict[str, Any]) -> serve.Application:
    """Return the Serve application; Serve calls this with the arguments of a command line or of a configuration.

    Serve's own health check asks whether the event loop of a replica answers. That is what `/health/live` answers,
    too. A replica without a ready model must not be stopped, so the deployment has no further check.

    Args:
        arguments: settings by their names, such as `max_batch`; other settings come from the environment.

    Raises:
        ValueError: a setting is wrong, or a replica does not have it.
    """
    for name, instead in REFUSED.items():
        if name in arguments or os.environ.get(f"SERVICE_{name.upper()}"):
            raise ValueError(f"{name}: expected no such setting on Ray: {instead}")
    settings = ReplicaSettings.from_arguments(arguments)

    def build() -> FastAPI:
        return replica_app(settings)

    reachable = float(os.environ.get(REACHABLE, REACHABLE_SECONDS))
    deployment = serve.deployment(
        name="AttentionService",
        max_ongoing_requests=settings.max_requests + OTHER_REQUESTS,
        health_check_period_s=CHECK_SECONDS,
        logging_config={"enable_access_log": False},  # `access_log` is the service's own
        graceful_shutdown_timeout_s=reachable + (settings.drain_timeout or settings.timeout),
    )
    return deployment(serve.ingress(build)()).bind()


def replica_app(settings: ReplicaSettings) -> FastAPI:
    """Return the app of this replica. Call it in the event loop of a replica.

    Raises:
        ArtifactError: there is nothing to serve.
        KeyFileError: the file of keys cannot be read.
        OSError: another program listens on `metrics_port`.
    """
    events = log_config(settings.log_level, settings.log_format)
    del events["root"], events["loggers"]["uvicorn"]  # Ray's own
    logging.config.dictConfig(events)
    tune_process()
    node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    built = create_app(settings, shared_folder(serve.get_replica_context().app_name), node=node)
    built.add_middleware(WithoutRequestId)
    if settings.metrics_port is not None:
        built.state.scrapes = answer_scrapes(built, node, settings.metrics_port)
    return built


def shared_folder(application: str) -> Path:
    """Return the folder that the replicas of an application on this node share, below the folder of Ray's session."""
    context = ray.get_runtime_context()
    # Other versions of the service may have other tables.
    return Path(context.get_temp_dir(), context.get_session_name(), "attention-service", application, __version__)


def answer_scrapes(app: ASGIApp, host: str, port: int) -> asyncio.Task[None]:
    """Answer `GET /metrics` on a port that all replicas of a node share, until the process ends.

    Each connection goes to one of them. As they share their counts, each has the totals of the node.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, reuse_port=True)
    only_metrics = Starlette(routes=[Route("/metrics", app)])
    config = uvicorn.Config(only_metrics, lifespan="off", log_config=None, access_log=False, server_header=False)
    return asyncio.get_running_loop().create_task(uvicorn.Server(config).serve([listener]))


class WithoutRequestId:
    """ASGI middleware that leaves the id of a request out of the answer: Serve adds the same header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [one for one in message["headers"] if one[0] != ID_HEADER]
            await send(message)

        await self.app(scope, receive, send_without)
