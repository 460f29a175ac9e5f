"""The import of models of other programs: any sequence model becomes a version with an ONNX graph of the contract."""
