"""`python -m sam features`: what of `segment_anything` is where."""

from __future__ import annotations

import sys


def main(words: list[str]) -> None:
    """Prints the table, or how to ask for it."""
    from .features import table

    if words != ["features"]:
        sys.exit("usage: python -m sam features")
    print(table())


if __name__ == "__main__":
    main(sys.argv[1:])
