"""How names of files end that hold weights, or say what a folder holds."""

PICKLES = (".bin", ".pth", ".pt", ".ckpt")
SUFFIXES = (".safetensors", *PICKLES)
GGUF, ARCHIVES = (".gguf",), (".zip",)  # which no model of ours is in, and people have in its place
# How browsers and programs that download call what has not ended, and the notes that they keep of it.
LEFT_OVER = (".crdownload", ".part", ".partial", ".aria2", ".incomplete", ".download", ".opdownload", ".tmp", ".!qB")
UNFINISHED = tuple(f"{suffix}{left}" for suffix in (*SUFFIXES, *GGUF, *ARCHIVES) for left in LEFT_OVER)
TELLING = (*SUFFIXES, ".json", *GGUF, *ARCHIVES, *UNFINISHED)  # endings of files that say what a folder holds
