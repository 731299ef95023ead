"""Fields of images, objects and categories that several formats share."""
