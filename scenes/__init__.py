"""Labelled frames, and how masks are scored."""
