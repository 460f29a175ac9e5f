"""An LSTM of PyTorch with attention, exported as ONNX. It needs torch, onnx and onnxscript.

Run it where PyTorch is, and import the file where the training program is:
`attention-training import lstm.onnx --data examples.npz --name lstm --task binary`.
"""

import numpy as np
import torch
from torch import Tensor, nn


class LSTMAttention(nn.Module):
    """An LSTM with additive attention. It returns a logit, and keeps its attention to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 16, batch_first=True)
        self.score = nn.Linear(16, 1)
        self.out = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `(batch, 1)` of sequences `(batch, timesteps, 2)`."""
        states, _ = self.lstm(x)
        weights = torch.softmax(self.score(torch.tanh(states)), dim=1)
        return self.out((weights * states).sum(1))


x = torch.randn(1000, 12, 2)
y = (x[:, 6, 0] > 0).float()[:, None]
model = LSTMAttention()
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(model(x[200:]), y[200:]).backward()
    optimizer.step()

model.eval()
shapes = {"x": {0: torch.export.Dim("batch")}}
torch.onnx.export(model, (x[:2],), "lstm.onnx", input_names=["x"], dynamo=True, dynamic_shapes=shapes)
np.savez("examples.npz", x=x[:200].numpy(), y=y[:200, 0].numpy().astype(int))
