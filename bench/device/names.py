"""Names in a report, for what writes it and for what reads it without torch."""

STEP = "a step of "  # before the name of a row, in the name of the try that counts
PRODUCT, COPY, GUIDED = "matrix product", "copy", "guided forward"
SAME, TIES, DIFFERS, RAN = "same", "near ties", "differs", "ran"  # of a comparison with the CPU
