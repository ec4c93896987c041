"""Accelerate started: which device, how many processes, which precision is safe there."""
