"""aMUSEd (arXiv 2401.01808): its sizes, its blocks, the network, and the branch of Self-Guidance for it."""
