"""One run over one output folder: settings, journal, label files, and what people changed in them."""
