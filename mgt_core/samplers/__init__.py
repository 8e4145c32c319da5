"""One file a sampler: which tokens are drawn and kept, in which order."""
