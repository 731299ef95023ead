"""Looking at labels: drawn on their images, and as a page for the browser."""
