"""`python -m benchmarks.on_ray`: the service on Ray Serve: its rates, an upgrade, a killed replica, autoscaling.

All of it runs on this machine. The rates stand beside those of `--workers 2`. The settings are those of
deploy/ray/serve.yaml.
"""

import argparse
import os
import secrets
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from benchmarks.capacity import everywhere
from benchmarks.contestants import RAY_VARIABLES, Body
from benchmarks.load import Load, post
from benchmarks.ours import ROOT, newest, ours, random_sequences
from benchmarks.servers import LOAD_CORE, serving_alone

CONNECTIONS: Final = 16
#: Sequences in a request.
SIZES: Final = (1, 32)
#: Ports of the service, of Ray, of its dashboard, and of HAProxy.
PORT, RAY_PORT, DASHBOARD, OTHERS = 8700, 8710, 8711, (8712, 8713, 8714)
URL: Final = f"http://127.0.0.1:{PORT}/predict"
#: Longest time to wait for Ray, in seconds.
SECONDS: Final = 240
#: Length of the load during an upgrade, during the loss of a replica, and while a replica is added, in seconds.
UPGRADE, LOSS, MORE = 60, 25, 30

#: Options of a deployment of two replicas, which need not wait for free cores.
TWO: Final[Mapping[str, Any]] = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0}}
CONFIG: Final[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())


def ray_variables(folder: str, ray_port: int, ports: tuple[int, int, int]) -> dict[str, str]:
    """Return the variables for a Ray that shares nothing with another one on this machine.

    Args:
        folder: a folder for its files. The path must be short, as there are sockets in it.
        ray_port: the port of Ray.
        ports: of HAProxy's metrics, of its statistics, and of the proxy that it falls back to.
    """
    of_metrics, of_statistics, of_fallback = map(str, ports)
    return {
        **RAY_VARIABLES,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": of_metrics,
        "RAY_SERVE_HAPROXY_STATS_PORT": of_statistics,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": of_fallback,
        # Nobody else starts programs on it. Without this, Ray writes a token below the home directory.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # A busy machine is slow.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_ADDRESS": f"127.0.0.1:{ray_port}",
    }


def script(name: str) -> str:
    """Return the path of a program of this environment."""
    return f"{sysconfig.get_path('scripts')}/{name}"


@dataclass(frozen=True)
class Cluster:
    """Ray on this machine, with the service on it.

    Attributes:
        environment: the variables of its processes.
        folder: the folder of its files.
        arguments: the settings of the service.
    """

    environment: Mapping[str, str]
    folder: Path
    arguments: Mapping[str, Any]

    def deploy(self, deployment: Mapping[str, Any], **arguments: Any) -> None:
        """Deploy the service, or change it, and wait until that is done."""
        (application,) = CONFIG["applications"]
        (given,) = application["deployments"]
        config = {
            "http_options": {**CONFIG["http_options"], "host": "127.0.0.1", "port": PORT},
            "applications": [
                {
                    **application,
                    "args": {**self.arguments, **arguments},
                    "deployments": [{"name": given["name"], **deployment}],
                }
            ],
        }
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [script("serve"), "deploy", str(path), "--address", f"http://127.0.0.1:{DASHBOARD}"]
        subprocess.run(command, check=True, env=self.environment, capture_output=True)
        wait_for(self.is_running)

    def application(self) -> dict[str, Any]:
        """Return what Serve says about the application; nothing before it has begun."""
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        answer = httpx.get(f"http://127.0.0.1:{DASHBOARD}/api/serve/applications/", headers=headers, timeout=30)
        found: dict[str, Any] = answer.json()["applications"].get(CONFIG["applications"][0]["name"], {})
        return found

    def is_running(self) -> bool:
        """Return whether the last change is done, and the service answers.

        Raises:
            RuntimeError: the change failed.
        """
        found = self.application()
        if "FAILED" in found.get("status", ""):
            raise RuntimeError(found["message"])
        try:
            answers = httpx.get(f"http://127.0.0.1:{PORT}/health/ready", timeout=30).status_code == 200
        except httpx.TransportError:
            return False
        return answers and found.get("status") == "RUNNING"

    def replicas(self) -> dict[int, str]:
        """Return the state of each replica, by its process."""
        (deployment,) = self.application()["deployments"].values()
        return {one["pid"]: one["state"] for one in deployment["replicas"] if one.get("pid")}

    def running(self) -> set[int]:
        """Return the replicas that answer."""
        return {pid for pid, state in self.replicas().items() if state == "RUNNING"}


@contextmanager
def cluster(arguments: Mapping[str, Any]) -> Iterator[Cluster]:
    """Run Ray until the block ends."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        environment = os.environ | ray_variables(folder, RAY_PORT, OTHERS)
        command = [script("ray"), "start", "--head", "--block", "--port", str(RAY_PORT), "--temp-dir", folder]
        command += ["--node-ip-address", "127.0.0.1", "--dashboard-port", str(DASHBOARD), "--num-cpus", "2"]
        with (
            Path(folder, "head.log").open("wb") as log,
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as process,
        ):
            stop = [script("serve"), "shutdown", "--yes", "--address", f"http://127.0.0.1:{DASHBOARD}"]
            try:
                found = Cluster(environment, Path(folder), arguments)
                wait_for(lambda: process.poll() is None and answers_at(f"http://127.0.0.1:{DASHBOARD}/api/version"))
                yield found
            finally:
                # It ends HAProxy, which would outlive Ray.
                subprocess.run(stop, check=False, env=environment, capture_output=True)
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=SECONDS)


def answers_at(url: str) -> bool:
    """Return whether a server answers."""
    try:
        httpx.get(url, timeout=30)
    except httpx.TransportError:
        return False
    return True


def wait_for(condition: Callable[[], object]) -> float:
    """Return the seconds until a condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + SECONDS:
            raise TimeoutError(f"Ray took more than {SECONDS} s")
        time.sleep(0.1)
    return time.monotonic() - began


def meanwhile(seconds: int, load: Callable[[int], Load], action: Callable[[], None]) -> Load:
    """Post for some seconds, and do something two seconds after the beginning. Return the load."""
    outcome: list[Load] = []
    thread = threading.Thread(target=lambda: outcome.append(load(seconds)))
    thread.start()
    time.sleep(2)
    action()
    thread.join()
    return outcome[0]


def rates(artifacts: Path, model: str, rounds: int, seconds: int, scratch: Path) -> None:
    """Print the rates of two replicas beside those of two worker processes, measured in turns."""
    service = next(one for one in ours(artifacts, model) if one.name == "this service")
    card = newest(artifacts / model).read().card()
    bodies = {size: service.body(random_sequences(size, card.timesteps, card.features)) for size in SIZES}
    workers = replace(service, command=(*service.command, "--workers", "2"))
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
    with serving_alone(workers, bodies[1], scratch) as server:
        everywhere(server)
        server.pause()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for size, body in bodies.items():
                on_ray = posted(URL, body, seconds, scratch)
                with server.running():
                    alone = posted(server.url, body, seconds, scratch)
                found[size].append((on_ray.rate, alone.rate))
    for size, pairs in found.items():
        ray, beside = (statistics.median(one) for one in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        print(
            f"sequences in a request: {size}; {ray:,.0f} requests/s, --workers 2 {beside:,.0f}; "
            f"{statistics.median(ratios):.2f} of it ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def posted(url: str, body: Body, seconds: int, scratch: Path) -> Load:
    """Post over the connections for some seconds."""
    return post(url, body, connections=CONNECTIONS, seconds=seconds, core=LOAD_CORE, scratch=scratch)


def check_upgrade(ray: Cluster, load: Callable[[int], Load]) -> None:
    """Print how many requests fail while all replicas are replaced."""
    before = ray.running()

    def change() -> None:
        began = time.monotonic()
        ray.deploy(TWO, max_batch=128)
        wait_for(lambda: not before & set(ray.replicas()))
        print(f"upgrade: both replicas were replaced after {time.monotonic() - began:.0f} s")

    found = meanwhile(UPGRADE, load, change)
    print(f"upgrade: {found.rate * UPGRADE:,.0f} requests, {found.failed} failed; p99 {found.p99 * 1e3:.1f} ms")


def check_loss(ray: Cluster, load: Callable[[int], Load]) -> None:
    """Print how many requests a killed replica costs, and when another one answers in its place."""
    before = ray.running()

    def kill() -> None:
        os.kill(min(before), signal.SIGKILL)
        back = wait_for(lambda: len(ray.running() - {min(before)}) == 2)
        print(f"killed replica: another one in its place after {back:.1f} s")

    found = meanwhile(LOSS, load, kill)
    print(
        f"killed replica: {found.rate * LOSS:,.0f} requests over {CONNECTIONS} connections; {found.refused} answers "
        f"with an error, {found.broken} connections closed, by such an answer or without one"
    )


def check_scaling(ray: Cluster, load: Callable[[int], Load]) -> None:
    """Print when load adds a replica, and when its end removes one."""
    (given,) = CONFIG["applications"][0]["deployments"]
    limits = {**given["autoscaling_config"], "max_replicas": 2}
    ray.deploy({"autoscaling_config": limits, "ray_actor_options": {"num_cpus": 1}})
    wait_for(lambda: len(ray.replicas()) == 1)

    def watch() -> None:
        print(f"autoscaling: two replicas answer {2 + wait_for(lambda: len(ray.running()) == 2):.1f} s after the load")

    meanwhile(MORE, load, watch)
    print(f"autoscaling: a replica begins to stop {wait_for(lambda: len(ray.running()) == 1):.1f} s after the load")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_ray", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each rate (default: 5)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a run (default: 5)")
    options = parser.parse_args()
    artifacts = options.artifacts.resolve()
    card = newest(artifacts / options.model).read().card()
    service = next(one for one in ours(artifacts, options.model) if one.name == "this service")
    body = service.body(random_sequences(1, card.timesteps, card.features))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ray = stack.enter_context(cluster({"artifacts": str(artifacts), "model": options.model}))
        ray.deploy(TWO)
        rates(artifacts, options.model, options.rounds, options.seconds, scratch)

        def load(seconds: int) -> Load:
            return posted(URL, body, seconds, scratch)

        check_upgrade(ray, load)
        check_loss(ray, load)
        check_scaling(ray, load)


if __name__ == "__main__":
    main()
