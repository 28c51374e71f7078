"""From label frames to measured objects, links and tracks."""
