"""docs/decoders.md: what every way to decode costs, what it may do, and what is known of it."""
