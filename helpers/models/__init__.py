"""The networks: train, load, apply. The only rooms that import TensorFlow or PyTorch."""

import importlib.util
import sys

# TensorFlow from 2.20 on hands its LLVM to whatever is loaded after it, and triton, which PyTorch brings for NVIDIA GPUs
# and loads with its first optimizer, crashes on it (tensorflow issue 124205). Loaded before, it keeps its own.
if "tensorflow" not in sys.modules and importlib.util.find_spec("triton"):
    import triton  # type: ignore[import-not-found]  # noqa: F401
