"""Tests; what several of them share is imported by its full name, such as ``tests.segmentation.stacks``."""
