"""Fit the default job with PyTorch: the same model, optimizer, batches and number of epochs.

The output is JSON: the seconds of the fit, and the accuracy.
"""

import json
import sys
import time

import torch
from torch import Tensor, nn

SEQUENCES, HELD_OUT, TIMESTEPS, FEATURES, UNITS, MARKED, BATCH, VALIDATION = 300_000, 30_000, 20, 2, 32, 10, 128, 0.1


class AttentionAfterLSTM(nn.Module):
    """The default model: it maps sequences `(batch, timesteps, features)` to logits `(batch, 1)`."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, batch_first=True)
        self.scores = nn.Linear(TIMESTEPS, TIMESTEPS)
        self.head = nn.Linear(TIMESTEPS * UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)  # (batch, timesteps, units)
        attention = self.scores(states.transpose(1, 2)).softmax(dim=-1).transpose(1, 2)
        logits: Tensor = self.head((states * attention).flatten(1))
        return logits


def sequences(n: int) -> tuple[Tensor, Tensor]:
    """Return random sequences `(n, timesteps, features)`, and labels `(n, 1)` that are written into one timestep."""
    x = torch.randn(n, TIMESTEPS, FEATURES)
    y = torch.randint(0, 2, (n, 1)).float()
    x[:, MARKED, :] = y
    return x, y


def fit(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Fit one epoch, and validate once, as Keras's loop does."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, eps=1e-7)
    loss = nn.BCEWithLogitsLoss()
    fitted = round(len(x) * (1 - VALIDATION))
    for rows in torch.randperm(fitted).split(BATCH):
        optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        for start in range(fitted, len(x), BATCH):
            model(x[start : start + BATCH])


def main() -> None:
    """Fit once."""
    torch.manual_seed(int(sys.argv[1]))
    model = AttentionAfterLSTM()
    x, y = sequences(SEQUENCES)
    began = time.perf_counter()
    fit(model, x, y)
    seconds = time.perf_counter() - began
    x, y = sequences(HELD_OUT)
    with torch.no_grad():
        accuracy = ((model(x) > 0) == (y > 0)).float().mean().item()
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
