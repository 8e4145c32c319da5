"""What trained the built-in sound model ("demo-sound"); docs/demo_sound.md tells of it.

python -m recipe.sound.train --work DIR    codec, tokens, network, folder, one after the other
python -m recipe.sound.evaluate            captions that training never showed, made and judged
"""
