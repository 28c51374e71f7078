"""Segmentation over the network: our notebooks as clients of a server, and a server of our own."""
