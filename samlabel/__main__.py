"""`python -m samlabel` is the command `samlabel`."""

from __future__ import annotations

from samlabel.cli import main

if __name__ == "__main__":
    main()
