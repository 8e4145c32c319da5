"""What quantization costs and saves."""
