"""Figures, widgets and viewers."""
