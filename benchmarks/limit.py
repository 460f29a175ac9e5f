"""The limit: the service with prepared arrays instead of a model, to measure the cost of HTTP and JSON alone."""

import sys

import numpy as np

from service.__main__ import server_config
from service.app import create_app_or_exit
from service.server import listen, serve
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Model
from service.serving.request_queue import Result
from service.settings import Settings


class PreparedPlane(DataPlane):
    """A data plane that answers prepared arrays."""

    async def ask(self, model: Model, question: Question) -> Result:
        """Return as many rows of the prepared arrays as there are sequences."""
        n = len(question.sequences)
        return Result({name: self.prepared[name][:n] for name in question.outputs}, queue=0, inference=0)

    def prepare(self, sequences: int) -> None:
        """Make the arrays for the default model."""
        timesteps = self.model().card.timesteps
        attention = np.random.default_rng(0).random((sequences, timesteps), dtype=np.float32)
        self.prepared = {"prediction": attention[:, :1], "attention": attention}


def main() -> None:
    """Serve with prepared arrays instead of batcher and engine."""
    settings = Settings.from_command_line(sys.argv[1:])
    app = create_app_or_exit(settings)
    app.state.plane = plane = PreparedPlane(
        app.state.repository, max_sequences=settings.max_sequences, max_values=settings.max_body
    )
    plane.prepare(settings.max_sequences)
    serve(server_config(lambda: app, settings, listen(settings)), lambda: None)


if __name__ == "__main__":
    main()
