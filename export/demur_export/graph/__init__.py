"""fp32 ONNX as exported -> the graph that demur runs."""
