"""Models of 8 billion weights: what they weigh, and what loading and one step of them take."""
