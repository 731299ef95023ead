"""Masks as run lengths, from low-res logits to the size of the image."""
