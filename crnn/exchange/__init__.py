"""Other programs' files and arrays: read into a `Description`, and written from one."""
