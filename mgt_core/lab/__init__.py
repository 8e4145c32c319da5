"""Models whose truth is known: distributions over grids of tokens that run as backbones, exactly or with errors that
are put in, and what there is to measure of the pictures that a way to decode makes of them."""
