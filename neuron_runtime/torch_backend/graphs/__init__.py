"""Decode steps that are recorded once for a shape and then replayed as a whole."""
