"""Masks for everything in an image."""
