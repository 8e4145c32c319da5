"""Suites that leave a choice something to decide: completion of pictures, and captions that leave something open."""
