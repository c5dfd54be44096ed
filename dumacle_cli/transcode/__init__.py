"""The encoder: probe, ladder, encode, verify; local files in, local files out."""
