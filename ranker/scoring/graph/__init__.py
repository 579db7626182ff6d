"""Graph: which ONNX graphs are accepted: the file, its inputs and output matched with the schema, proof by trial."""
