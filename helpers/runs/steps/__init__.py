"""From a notebook's parameters to the calls of the library: one module a notebook, so that its cells stay short."""
