"""The progress of a fit for people: a progress bar and, on request, TensorBoard's logs."""

import sys
from collections.abc import Mapping
from typing import Self

import tensorflow as tf

from training.options import Options
from training.progress import progress_bar


class Report:
    """The progress bar and the logs of one fit of some steps, of which some were done before. A context manager."""

    def __init__(self, options: Options, seed: int, steps: int, done: int) -> None:
        self._in_terminal = sys.stderr.isatty()
        what = "training" if options.repeats == 1 else f"training, seed {seed}"
        self._bar = progress_bar(steps, what, "step", done=done)
        self._writer = None
        if options.tensorboard is not None:
            self._writer = tf.summary.create_file_writer(str(options.tensorboard / f"{options.model_name}-seed-{seed}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def add_steps(self, steps: int, loss: float) -> None:
        """Report some finished steps, and the mean loss of the epoch so far."""
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update(steps)

    def end_epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Report a finished epoch and its metrics."""
        self._bar.set_postfix_str(
            ", ".join(f"{name} {value:.4f}" for name, value in logs.items()), refresh=self._in_terminal
        )
        if self._writer is not None:
            with self._writer.as_default(step=epoch):
                for name, value in logs.items():
                    tf.summary.scalar(name, value)
