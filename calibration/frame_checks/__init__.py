"""What is wrong with calibration frames, how many are enough, and which few would do."""
