"""Captions: a model with a text head, whose words are unmasked as its pictures are."""
