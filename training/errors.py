"""What a training run can fail with."""


class TrainingError(Exception):
    """The run cannot end in a published version; the message says what was expected and what came."""
