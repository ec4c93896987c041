"""The source report's results, digit by digit, as data: what ours is held beside.

Source: the course report that this project started from (December 2024), its figure 9 and accuracy table. Test split of
CIFAR-10, 10,000 images; one run each; the report does not say how many epochs "low" is, and trained up to 100. Rows of
the matrices are true classes, columns predictions. Its low-epoch cells are printed with the same matrix for both forms.
"""

from typing import NamedTuple

import numpy as np

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class ReportCell(NamedTuple):
    """One cell of the report's table: accuracies as fractions, and the confusion matrix (10, 10)."""

    top1: float
    top3: float
    confusion: np.ndarray


def _matrix(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.strip().splitlines()], dtype=np.int64)


_LOW_EPOCH = _matrix("""
902   1   8   8  24   1   2  14  37   3
103 640   7   8   6   1   8   4  92 131
 84   1 655  33 133  16  50  22   6   0
 21   1  36 632 107  88  46  46  22   1
  9   0  16  16 893   8  18  35   5   0
  5   1  23 151  61 673  15  63   4   4
  9   0  21  26  49   6 877   4   8   0
  6   0   6  15  86  19   2 864   1   1
 77   0   3   3   8   0   3   2 901   3
 53  13   3  16  13   0   4  11  59 828
""")

_HIGH_EPOCH_WITHOUT = _matrix("""
890  12  18   7   3   4   4   5  31  26
 13 918   1   6   2   5   3   2   5  45
 50   1 780  43  27  33  35  22   3   6
 44   4  37 676  27 144  29  26   5   8
 29   1  41  74 781  17  20  32   3   2
 14   4  29  93  17 788  11  40   0   4
 13   2  20  70   9   7 871   5   0   3
 12   1  23  32  24  18   0 888   1   1
 67  29   9   9   1   1   2   6 858  18
 13  53   2  10   0   4   1   7  15 895
""")

_HIGH_EPOCH_WITH = _matrix("""
876   8  13  29   2   3   1  10  30  28
  4 904   2  12   0   0   0   1   5  72
 43   2 778  81  29  28  10  15  10   4
 16   4  15 829  14  80  12  13   6  11
 20   1  17  96 773  39   5  44   2   3
  6   1  26 173  14 750   1  21   2   6
  5   4  28 131  12  15 793   4   5   3
  7   1   6  56  29  23   0 867   1  10
 55  31   6  14   1   1   0   0 872  20
 13  30   3  13   0   3   1   3  19 915
""")

# By epoch and by whether there is a skip.
CELLS = {
    ("low", False): ReportCell(0.7865, 0.9483, _LOW_EPOCH),
    ("low", True): ReportCell(0.7865, 0.9483, _LOW_EPOCH),
    ("high", False): ReportCell(0.8345, 0.9683, _HIGH_EPOCH_WITHOUT),
    ("high", True): ReportCell(0.8357, 0.9672, _HIGH_EPOCH_WITH),
}
