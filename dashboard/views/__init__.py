"""The pages, one a file; they lay out what the library computed and compute nothing themselves."""
