"""Tree ensembles as bit vectors: read from an ONNX node, numbered, asked side by side, summed by a compiled kernel."""
