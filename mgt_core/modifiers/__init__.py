"""One file a logits modifier, which acts between the network and the draw."""
