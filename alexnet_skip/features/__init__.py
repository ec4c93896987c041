"""Frozen features by row: computed once, kept on disk, exchanged between disks, projected on a PCA basis.

``FrozenFeatures`` opens a source of rows, ``predict`` says what a module makes of them; training and evaluation see no
more.
``python -m alexnet_skip.features`` cares for the cache.
"""
