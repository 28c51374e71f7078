"""The global tracker: cells and links chosen at once, by an integer linear program."""
