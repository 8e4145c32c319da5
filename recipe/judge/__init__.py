"""Reads pictures back, and says how near they are to what was asked for. Nothing in it was fitted to generated ones."""
