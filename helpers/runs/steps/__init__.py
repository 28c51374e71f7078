"""From a notebook's parameters to the calls of the library: one module per notebook, so that its cells stay short."""
