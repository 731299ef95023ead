"""Weights and machines: known files, verified downloads, trust, devices and their memory."""
