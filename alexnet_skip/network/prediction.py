"""What a network thinks of one image."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """What the network thinks of one image.

    Attributes:
        class_names: C names.
        probabilities: (C,), in the order of the names; they sum to 1.
        file: that the image was read from; empty if it was none.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    file: str = ""

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes (fewer where there are fewer) with their probabilities, the best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.class_names[c], float(self.probabilities[c])) for c in order]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    @property
    def probability(self) -> float:
        """Probability of :attr:`label`."""
        return self.top(1)[0][1]

    def __str__(self) -> str:
        return ", ".join(f"{name} {100 * probability:.1f} %" for name, probability in self.top(3))
