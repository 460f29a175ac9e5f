"""The limit: the service with a model that returns prepared arrays, to measure the cost of HTTP and JSON alone."""

import sys
from collections.abc import Collection

import numpy as np
import uvicorn

from service.__main__ import server_config
from service.app import create_app_or_exit
from service.artifact.tensors import Array
from service.serving.batcher import Result
from service.settings import Settings


def main() -> None:
    """Serve with prepared arrays instead of batcher and engine."""
    settings = Settings.from_command_line(sys.argv[1:])
    app = create_app_or_exit(settings)
    model = app.state.repository.get()
    attention = np.random.default_rng(0).random((settings.max_sequences, model.card.timesteps), dtype=np.float32)
    prepared = {"prediction": attention[:, :1], "attention": attention}

    async def predict(sequences: Array, outputs: Collection[str]) -> Result:
        return Result({name: prepared[name][: len(sequences)] for name in outputs}, queue=0, inference=0)

    model.predict = predict
    uvicorn.Server(server_config(settings, lambda: app)).run()


if __name__ == "__main__":
    main()
