"""The decision for each route: the right that a client's key needs for it, or that it is open."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from re import Pattern
from typing import Final, Literal

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path
from starlette.types import Scope

from service.api.inference import LONGEST_PATH, MOST_PATHS
from service.api.prefix import route_path
from service.keys import Right
from service.settings import OpenGroup

Group = OpenGroup | Literal["control"]
#: A route needs a right, or any key; None stands for an open route.
Need = Right | Literal["any"] | None

#: The names of all routes. A test fails for a route that is missing here; without a test, it needs the right `control`.
GROUPS: Final[Mapping[Group, tuple[str, ...]]] = {
    # They say whether the process and a model can answer, and name a model only if the client does, or the default one.
    "probes": (
        "get_started",
        "get_live",
        "get_ready",
        "get_live_v2",
        "get_ready_v2",
        "get_model_ready_v2",
        "get_model_ready_v2_version",
        "ping",
        "get_health",
        "vertex_health",
    ),
    # Files that are the same in every installation. A browser loads them before anyone can type a key.
    "page": ("get_root", "asset", "docs", "redoc"),
    "metrics": ("get_metrics",),
    "read": (
        "openapi",
        "get_version",
        "get_attention",
        "list_models",
        "get_model",
        "get_example",
        "list_models_v1",
        "get_model_status_v1",
        "get_model_status_v1_version",
        "get_model_metadata_v1",
        "get_model_metadata_v1_version",
        "get_server_v2",
        "server_metadata",
        "get_model_v2",
        "get_model_v2_version",
        "get_model_config",
        "get_model_config_version",
        "get_statistics",
        "get_model_statistics",
        "get_model_statistics_version",
        "list_repository",
    ),
    "predict": (
        "predict",
        "predict_v1",
        "predict_v1_version",
        "explain_v1",
        "explain_v1_version",
        "infer_v2",
        "infer_v2_version",
        "invocations",
        "vertex_predict",
        "refuse_examples",
        "refuse_label",
        "refuse_verb",
    ),
    "control": ("load_model", "unload_model"),
}
GROUP_OF: Final[Mapping[str, Group]] = {name: group for group, names in GROUPS.items() for name in names}
RIGHT_OF: Final[Mapping[Group, Right]] = {
    "probes": "read",
    "page": "read",
    "metrics": "read",
    "read": "read",
    "predict": "predict",
    "control": "control",
}


def open_routes(opened: Iterable[str]) -> frozenset[str]:
    """Return the names of the routes in some groups."""
    return frozenset(name for name, group in GROUP_OF.items() if group in opened)


class Needs:
    """What requests need, by the routes of an app.

    Args:
        routes: the routes of the app, in the order in which it tries them.
        opened: groups of routes that need no key.
    """

    def __init__(self, routes: Iterable[BaseRoute], opened: Iterable[str]) -> None:
        self._rules: list[tuple[Pattern[str], set[str], Need]] = []
        opened = frozenset(opened)
        for route in iter_route_contexts(list(routes)):
            if route.path is not None:
                group = GROUP_OF.get(route.name or "", "control")
                need = None if group in opened else RIGHT_OF[group]
                self._rules.append((compile_path(route.path)[0], route.methods or set(), need))
        self._kept = lru_cache(MOST_PATHS)(self._find)

    def of(self, scope: Scope) -> Need:
        """Return what a request needs."""
        path = scope["path"]
        find = self._kept if len(path) <= LONGEST_PATH else self._find
        return find(scope["method"], path, scope.get("root_path", ""))

    def _find(self, method: str, path: str, root_path: str) -> Need:
        """Return the need of the first route that takes a method and a path.

        A request that no route takes needs any key, so that only clients with a key learn which routes there are.
        """
        # As Starlette matches it: without the prefix, and with all percent-encodings decoded by the server.
        path = route_path({"path": path, "root_path": root_path}) or "/"
        matching = [(methods, need) for pattern, methods, need in self._rules if pattern.match(path)]
        if method == "OPTIONS":  # answered with the methods of the path
            return None if any(need is None for _, need in matching) else "any"
        wanted = "GET" if method == "HEAD" else method
        return next((need for methods, need in matching if wanted in methods), "any")
