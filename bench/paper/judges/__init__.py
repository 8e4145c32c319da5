"""Judges of pictures, a file each; the scoring process imports what it needs of them and nothing of a model's."""
