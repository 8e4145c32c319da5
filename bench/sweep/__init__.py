"""Pictures of every prompt with every setting and seed: `python -m bench.sweep`."""
