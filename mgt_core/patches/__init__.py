"""One file a patch: what is attached to a model and acts around or inside its network."""
