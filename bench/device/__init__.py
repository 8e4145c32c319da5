"""What the library does on a card: is it right there, how fast, in how much memory.

    python -m bench.device --minutes 8 --json FILE     on a machine with a card; --device cpu --tiny tries the command
    python -m bench.device --page [FILE …]             makes docs/device.md of what lies in docs/device/

A second process does the work, a try at a time, and what came of it is in FILE at once (journal.py). Where a try breaks
the process or takes too long, that is noted and another process goes on behind it (keeper.py). Parts are tried in order
of their worth (parts.py). Nothing is imported but what the library itself needs, and nothing is fetched.
"""
