"""Label formats, one folder each."""
