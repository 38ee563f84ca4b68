"""Robot recordings of every format with their images, one file a format."""
