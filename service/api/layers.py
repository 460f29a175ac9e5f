"""FastAPI's app with middleware around all of its own layers."""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send


class LayeredApp(FastAPI):
    """FastAPI's app, whose middleware is called before FastAPI's own layers.

    FastAPI would put its layers around the middleware: those for unexpected errors, traces and limits of bodies. They
    take a twentieth of the time of a small request that `DirectRoutes` answers, and do nothing for it.
    """

    def __init__(self, **options: Any) -> None:
        self._outermost: ASGIApp = super().__call__
        super().__init__(**options)

    def add_middleware(self, middleware_class: Any, *args: Any, **options: Any) -> None:
        """Add middleware around all that was added before."""
        self._outermost = middleware_class(self._outermost, *args, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if self.root_path:
            scope["root_path"] = self.root_path
        await self._outermost(scope, receive, send)
