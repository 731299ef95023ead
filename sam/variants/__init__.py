"""Families of image encoders, one file each; `sam.registry` finds them by their `VARIANTS`."""
