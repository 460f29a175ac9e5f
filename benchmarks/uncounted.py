"""The service, but for the live profile: what counting attention costs is the difference."""

import os
import sys

import uvicorn

from service.app import create_app_or_exit
from service.inference.artifact import Array
from service.inference.live import LiveProfile
from service.settings import Settings


def forget(profile: LiveProfile, attention: Array) -> None:
    """What was answered."""


def main() -> None:
    """Serve, without counting."""
    LiveProfile.add = forget  # type: ignore[method-assign]
    app = create_app_or_exit(Settings.from_command_line(sys.argv[1:]))
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
