"""The VQ codec: an encoder and a codebook that are computed, and a decoder that is trained."""
