"""Float graph + real frames -> Q/DQ graph, and what that cost in accuracy."""
