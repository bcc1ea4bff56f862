"""A deployable model: spec, bundle on disk, sessions that run it, and the pixel loops."""
