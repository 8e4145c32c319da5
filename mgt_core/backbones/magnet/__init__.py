"""MAGNeT (arXiv 2401.04577): its sizes, its blocks, the network, and the branch of Self-Guidance for it."""
