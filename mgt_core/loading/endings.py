"""How names of files end that hold weights, or say what a folder holds."""

PICKLES = (".bin", ".pth", ".pt", ".ckpt")
SUFFIXES = (".safetensors", *PICKLES)
GGUF, ARCHIVES = (".gguf",), (".zip",)  # which no model of ours is in, and people have in its place
TELLING = (*SUFFIXES, ".json", *GGUF, *ARCHIVES)  # endings of files that say what a folder holds
