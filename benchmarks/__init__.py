"""One script for each claim of speed; run them as `python -m benchmarks.NAME`."""
