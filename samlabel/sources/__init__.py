"""Where images come from: folders, files and lists of them, and how they are decoded."""
