"""From tracks to biology: distance to the boundary, intensity rhythms, migration, and the comparison of movies."""
