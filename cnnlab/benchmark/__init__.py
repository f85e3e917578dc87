"""Benchmark: cnnlab's layers and training step against plain Flax Linen and PyTorch eager."""
