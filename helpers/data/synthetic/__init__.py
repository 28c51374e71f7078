"""Movies of a growing tissue whose truth is known: cells, tracks, rhythms, distances."""
