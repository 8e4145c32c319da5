"""Low-rank updates beside the layers of a network that stays shared."""
