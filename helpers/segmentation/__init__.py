"""From network outputs to labels, and from labels to scores."""
