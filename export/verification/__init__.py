"""How `export/verify.py` compares a bundle's graphs with the network, layer by layer."""
