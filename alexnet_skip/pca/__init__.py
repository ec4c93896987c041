"""Principal component analysis in NumPy, of arrays that need not fit in memory; public, usable alone.

``from alexnet_skip.pca import PCA``
"""

from alexnet_skip.pca.estimator import PCA
from alexnet_skip.system.rows import LazyRows, Rows

__all__ = ["PCA", "LazyRows", "Rows"]
