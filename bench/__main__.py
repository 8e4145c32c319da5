"""`python -m bench` is `python -m bench.speed`."""

from .speed.__main__ import main

if __name__ == "__main__":
    main()
