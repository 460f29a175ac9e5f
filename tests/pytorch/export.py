"""Writes the models of this folder with PyTorch's two exporters. It needs torch, onnx and onnxscript.

`python tests/pytorch/export.py` writes each model as `<name>_torchscript.onnx` and `<name>_dynamo.onnx`, the latter
with its weights in another file, and what PyTorch computes as `<name>.npz`.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent
X = torch.randn(16, 6, 2, generator=torch.Generator().manual_seed(0))


class Recurrent(nn.Module):  # type: ignore[misc]
    """A bidirectional LSTM with additive attention. It returns logits of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 8, batch_first=True, bidirectional=True)
        self.score = nn.Linear(16, 1)
        self.out = nn.Linear(16, 2)

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states, _ = self.lstm(x)
        weights = torch.softmax(self.score(torch.tanh(states)), dim=1)
        return self.out((weights * states).sum(1)), weights.squeeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x)[0]


class Returned(Recurrent):
    """The same with the logarithm of the probabilities, and attention as a second output."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits, weights = self.attend(x)
        return torch.log_softmax(logits, -1), weights


class SelfAttention(nn.Module):  # type: ignore[misc]
    """PyTorch's own layer with two heads, which does not return its weights. It predicts a number."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        e = self.embed(x)
        y, _ = self.attention(e, e, e, need_weights=False)
        return self.out((e + y).mean(1))

    def weights(self, x: Tensor) -> Tensor:
        e = self.embed(x)
        return self.attention(e, e, e, average_attn_weights=False)[1]


def write(name: str, model: nn.Module, outputs: list[str], prediction: Tensor, attention: Tensor) -> None:
    """Export a model in both ways, and write what it computes."""
    model.eval()
    axes = {one: {0: "batch"} for one in ("x", *outputs)}
    path = FOLDER / f"{name}_torchscript.onnx"
    torch.onnx.export(model, (X,), path, dynamo=False, input_names=["x"], output_names=outputs, dynamic_axes=axes)
    path = FOLDER / f"{name}_dynamo.onnx"
    shapes = {"x": {0: torch.export.Dim("batch")}}
    torch.onnx.export(model, (X,), path, dynamo=True, input_names=["x"], output_names=outputs, dynamic_shapes=shapes)
    _without_traces(path)
    np.savez(FOLDER / f"{name}.npz", x=X.numpy(), prediction=prediction.detach(), attention=attention.detach())


def _without_traces(path: Path) -> None:
    """Remove the stack traces of the nodes, which have the paths of this machine."""
    model = onnx.load(path)
    data = path.with_name(f"{path.name}.data")
    data.unlink()
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.save(model, path, save_as_external_data=True, location=data.name, size_threshold=0)


def main() -> None:
    """Write all models."""
    torch.manual_seed(0)
    recurrent, returned, self_attention = Recurrent().eval(), Returned().eval(), SelfAttention().eval()
    logits, weights = recurrent.attend(X)
    write("recurrent", recurrent, ["logits"], torch.softmax(logits, -1)[:, 1:], weights)
    logits, weights = returned.attend(X)
    write("returned", returned, ["log_probabilities", "weights"], torch.softmax(logits, -1)[:, 1:], weights)
    write("self_attention", self_attention, ["y"], self_attention(X), self_attention.weights(X))


if __name__ == "__main__":
    main()
