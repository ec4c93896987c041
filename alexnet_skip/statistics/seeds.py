"""Do two methods differ, each trained with several seeds and judged on the same samples? Pure NumPy, b against a.

Other seeds would have given other accuracies, and so would other samples: a claim about a method has to hold for both.
Diagnostic imaging knows the problem as readers (here seeds), each with one modality (here methods), and cases (here
samples): this is the analysis of variance of Obuchowski and Rockette (1995), for readers nested in modalities (Hillis
2014, Statistics in Medicine 33:330).
"""

import math
from typing import NamedTuple

import numpy as np

from alexnet_skip.statistics.paired import Difference, holm


class MethodDifference(NamedTuple):
    """A difference of mean accuracy, b minus a, for other seeds and other samples.

    Attributes:
        degrees: of freedom of Student's t, the difference over its standard error.
        p: two-sided, of this difference alone.
        p_holm: the same, corrected for the number of methods that are compared with a.
    """

    mean: float
    standard_error: float
    degrees: int
    p: float
    p_holm: float

    def interval(self, confidence: float = 0.95) -> Difference:
        """The difference with its interval, not corrected for the number of methods."""
        half = student_t_quantile(0.5 + confidence / 2, self.degrees) * self.standard_error
        return Difference(self.mean, self.mean - half, self.mean + half)


def method_differences(accuracies: np.ndarray, products: np.ndarray, num_samples: int) -> list[MethodDifference]:
    """The differences of methods 1 to M − 1 from method 0, which each of them is compared with.

    The variance of a difference is that of its seeds on these samples, and what the samples add to it. The seeds'
    variance is taken to be the same for all methods and pooled over them, since three seeds of one method hardly tell
    it. Runs of equal seeds aren't paired: if they are alike, this variance is too large rather than too small.

    Args:
        accuracies: (M, S), of each method with each of its seeds.
        products: (M, M), mean over samples of the product of two methods' shares of seeds that get the sample right.
        num_samples: N, the same samples for all.

    Raises:
        ValueError: if there are fewer than two methods or seeds, or the shapes don't fit.
    """
    num_methods, num_seeds = accuracies.shape
    if num_methods < 2 or num_seeds < 2 or products.shape != (num_methods, num_methods):
        raise ValueError(
            f"accuracies {accuracies.shape} and products {products.shape}: methods are compared by at least two, with "
            "at least two seeds each; one run tells nothing of the spread"
        )
    means, own, variances = accuracies.mean(axis=1), np.diag(products), accuracies.var(axis=1, ddof=1)
    # What is neither the seed's nor the sample's; of a right or wrong, the square is the value itself.
    residuals = np.maximum(num_seeds * (means - own) / (num_seeds - 1) - variances, 0)
    found = []
    for b in range(1, num_methods):
        samples = float(own[b] + own[0] - 2 * products[0, b]) / num_samples
        # Both variances hold this one; where seeds happen to be more alike than it allows, they are not to be trusted.
        residual = float(residuals[b] + residuals[0]) / (num_seeds * num_samples)
        seeds = max(2 * float(variances.mean()) / num_seeds, residual)
        added = max(samples - residual, 0)
        degrees = _degrees(seeds, added, num_methods * (num_seeds - 1), num_samples)
        found.append((float(means[b] - means[0]), math.sqrt(seeds + added), degrees))
    p_values = [student_t_p(mean / error if mean else 0.0, degrees) for mean, error, degrees in found]
    corrected = holm(p_values).tolist()
    return [MethodDifference(*one, p, p_holm) for one, p, p_holm in zip(found, p_values, corrected, strict=True)]


def _degrees(seeds: float, added: float, of_seeds: int, num_samples: int) -> int:
    """Degrees of freedom of the sum of the seeds' variance, poorly known, and what samples add, well known.

    They grow as the sum over the seeds' part. Satterthwaite and Hillis take the square of that ratio, which is largest
    where seeds happen to be alike: with their 2 to 8 degrees up to 8 % of claims would be false, where 5 % may be.
    """
    most = max(num_samples - 1, 1)
    return min(most, of_seeds + int(of_seeds * added / seeds)) if seeds > 0 else most


def student_t_p(t: float, degrees: int) -> float:
    """Two-sided p-value of Student's t (Student 1908) for a whole number of degrees of freedom, to 1e-14."""
    return max(0.0, 1 - _probability_within(math.atan(abs(t) / math.sqrt(degrees)), degrees))


def student_t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t for a whole number of degrees of freedom and a probability of at least 1/2."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if (1 + _probability_within(angle, degrees)) / 2 < probability else (low, angle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _probability_within(angle: float, degrees: int) -> float:
    """Probability that Student's t is between −t and t, of t = √degrees tan(angle).

    The finite series of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    term = math.cos(angle) if degrees % 2 else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + degrees % 2, degrees - 1, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    inside = math.sin(angle) * total
    return 2 / math.pi * (angle + inside) if degrees % 2 else inside
