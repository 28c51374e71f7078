"""Asks a server that speaks biopb's ``ObjectDetection`` (Volltrack's, Lacss, …) for the cells of a frame."""
