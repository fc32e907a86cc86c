"""The methods, one family a file. Importing a file registers what is in it (see `attribution.registry`)."""
