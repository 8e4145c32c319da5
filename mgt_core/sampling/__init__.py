"""A run: the step on one page (step.py), the network under guidance, draws, memory, and watching for NaNs."""
