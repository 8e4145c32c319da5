"""Quantization: SCQ of arXiv 2411.10781 and simpler schemes. Weights are packed; the rest is shared."""
