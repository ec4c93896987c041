"""What a published network thinks of images: the one place where logits become what is told as a probability."""

from dataclasses import dataclass

import numpy as np

from alexnet_skip.statistics.metrics import softmax


def probabilities(logits: np.ndarray, temperature: float | None) -> np.ndarray:
    """Probabilities float64 (N, C) that a published model gives for logits (N, C): at its temperature.

    Args:
        temperature: of the model's config; None counts as 1.

    Raises:
        ValueError: if a logit is infinite or not a number.
    """
    return softmax(logits / (temperature or 1.0))


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
