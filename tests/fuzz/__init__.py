"""Damaged, hostile and generated label files: `python -m tests.fuzz --inputs 20000` counts what becomes of them."""
