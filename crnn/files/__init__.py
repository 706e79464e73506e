"""Files: their format, and how they are read and replaced."""
