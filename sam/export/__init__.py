"""ONNX files of the bundled models."""
