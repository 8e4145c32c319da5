"""Self-Guidance beside its patch: the files of its branch, and how one is trained."""
