"""What a run is conditioned on: prompts and their encoder, classes, and several conditions at once."""
