"""Networks and checkpoints of other repositories."""
