"""Parts of a network by the fastest way there is; plain torch where there is no other."""
