"""Training of Self-Guidance branches: the objective, the examples, the loop."""
