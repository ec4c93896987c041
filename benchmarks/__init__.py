"""One script for each claim of speed, and one of how sure a study is; run them as `python -m benchmarks.NAME`."""
