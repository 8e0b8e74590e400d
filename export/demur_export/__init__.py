"""Turns a published PyTorch refusal classifier into a bundle that demur runs without PyTorch."""
