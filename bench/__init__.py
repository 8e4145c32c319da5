"""Measurements: what each choice does to pictures, time and memory."""
