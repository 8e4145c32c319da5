"""Meissonic (arXiv 2410.08261): its sizes, its blocks, the network, and the branch of Self-Guidance for it."""
