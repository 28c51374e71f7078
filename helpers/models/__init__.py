"""The networks: train, load, apply. The only rooms that import TensorFlow or PyTorch."""
