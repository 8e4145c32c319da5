"""Whether steering by a reward makes pictures better that vanilla fails at: `python -m bench.steering`."""
