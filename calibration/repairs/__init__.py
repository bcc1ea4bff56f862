"""What is changed in a network before or after rounding, so that INT8 costs less."""
