"""The service, but for the live profile: what counting attention costs is the difference."""

import os
import sys

import uvicorn

from service.app import create_app_or_exit
from service.inference.artifact import Array
from service.settings import Settings


def main() -> None:
    """Serve, without counting."""
    app = create_app_or_exit(Settings.from_command_line(sys.argv[1:]))

    def forget(attention: Array) -> None:
        """What was answered."""

    app.state.repository.get().live.add = forget
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
