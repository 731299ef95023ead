"""Proof that a run loses nothing, whatever ends it: `python -m tests.durability` prints the counts."""
