"""Language models whose vocabulary holds the codes of pictures: tokens inside a sequence of words."""
