"""Figures from arrays: accuracy and calibration, intervals and paired tests, how far classes come apart. NumPy only.

Nothing here reads a file or knows of a run; what may be *claimed* of figures is :mod:`alexnet_skip.study`'s.
"""
