"""The routes of an app: the methods of a path, and the routes near a path that does not exist."""

import difflib
import re
from collections.abc import Iterator
from heapq import nlargest
from itertools import zip_longest
from typing import Final

from fastapi import Request
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path

from service.api.prefix import root_path, route_path

#: Longest path that is compared with the routes.
LONGEST_PATH: Final = 60
#: Least likeness of a route that is named.
LEAST_LIKENESS: Final = 0.6
#: Most routes that are named.
MOST_NEAR: Final = 3
DOCUMENTATION: Final = "/docs"
#: Files of the page and of `/docs`, and routes that only refuse, are not named.
NOT_NAMED: Final = re.compile("{name}|{label}|{method}|:(classify|regress)$")


def allowed_methods(request: Request) -> str:
    """Return the methods of all routes that match the path, as `Allow` lists them; `*` stands for every path."""
    path = route_path(request.scope)
    methods = {"OPTIONS"}
    for route in iter_route_contexts(request.app.routes):
        if route.path is not None and (path == "*" or compile_path(route.path)[0].match(path)):
            methods |= route.methods or set()
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def not_found(request: Request) -> str:
    """Return a message about a path that does not exist: the routes near it, and where all are documented."""
    path, prefix = route_path(request.scope), root_path(request)
    found = [f"{method} {prefix}{template}" for template, method in _near(request, path)]
    near = f"; near it: {', '.join(found)}" if found else ""
    return f"no route {path[:LONGEST_PATH]!r}{near}; all routes: GET {prefix}{DOCUMENTATION}"


def _near(request: Request, path: str) -> list[tuple[str, str]]:
    """Return the paths and methods of the routes nearest to a path, nearest first."""
    if len(path) > LONGEST_PATH:
        return []
    wanted = path.lower().rstrip("/")
    found = {
        (template, "|".join(sorted(methods - {"HEAD"}))): _likeness(template, wanted)
        for template, methods in _templates(request)
        if not NOT_NAMED.search(template)
    }
    return [one for one in nlargest(MOST_NEAR, found, key=lambda one: found[one]) if found[one] >= LEAST_LIKENESS]


def _likeness(template: str, path: str) -> float:
    """Return how much of a path and of a route's template agrees, without the route's parameters, from 0 to 1."""
    if abs(template.count("/") - path.count("/")) > 1:
        return 0
    fixed, given = [], []
    for one, part in zip_longest(template.split("/"), path.split("/"), fillvalue=""):
        literal = re.sub(r"\{\w+\}", "", one)
        fixed.append(literal)
        given.append(part if literal == one else part[len(part.partition(":")[0]) :])
    compared = difflib.SequenceMatcher(None, "/".join(given), "/".join(fixed))
    return compared.ratio() if compared.quick_ratio() >= LEAST_LIKENESS else 0  # a bound that takes far less time


def _templates(request: Request) -> Iterator[tuple[str, set[str]]]:
    """Yield the path of each route, with its parameters in braces, and its methods."""
    for route in iter_route_contexts(request.app.routes):
        if route.path_format is not None and route.methods:
            yield route.path_format, route.methods
