"""Figures from arrays: every function returns a matplotlib Figure and touches no global state.

Nothing here reads a run or computes what it shows: that comes as arrays.
"""
