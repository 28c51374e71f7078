"""Parameters, run folders and experiments: what drives the notebooks, by hand or in a batch."""
