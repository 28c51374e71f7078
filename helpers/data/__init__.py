"""What comes in, and what lies on disk: movies, experiments, training sets, synthetic truth."""
