"""What each decoding choice does where the truth is known: `python -m bench.laboratory`, see docs/laboratory.md."""
