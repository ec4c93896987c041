"""How often does a study claim a gain that isn't there, and how often does it see one that is? By simulation.

    python -m benchmarks.claims [--studies 4000]

Studies are drawn, and judged by the rule that `evaluate.py --compare` judges by. Of 10,000 images a tenth is right with
one method's model and wrong with another's, as often this way as that; of two seeds of one method 6 %, for what one
seed gets wrong the others often get wrong too. Besides, each run's accuracy has a shift of its own, normal with the SD
given. False claims: the share of studies that claim anything where there is no effect. Seen: the share that claims it
of the one variant that has the gain. Prints a table in Markdown, and one JSON line.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from alexnet_skip.statistics.paired import holm, sign_flip_exact
from alexnet_skip.statistics.seeds import method_differences
from alexnet_skip.study.verdict import is_claimed

NUM_IMAGES = 10_000
# Images of which two models get one right only: of two methods, and of one method's seeds.
METHODS_DISAGREE, SEEDS_DISAGREE = 0.10, 0.06
# Images that some model gets wrong and some right; of the others, four in five are right with all.
NUM_CONTESTED = int(2 * METHODS_DISAGREE * NUM_IMAGES)
NUM_SETTLED_RIGHT = int(0.8 * (NUM_IMAGES - NUM_CONTESTED))

DESIGNS = ((3, 3), (1, 5))
"""Variants compared with one reference, and seeds of each of them and of the reference."""

SEED_SPREADS = (0.001, 0.003, 0.01)
GAINS = (0.0, 0.005, 0.01, 0.02)
CHUNK_STUDIES = 100


class Study(NamedTuple):
    """What the rule asks of a study of M methods, the reference first, with S seeds each."""

    accuracies: np.ndarray  # (M, S)
    products: np.ndarray  # (M, M)
    hits: np.ndarray  # (M, images), seeds that get a contested image right

    @property
    def claims(self) -> list[bool]:
        """For each variant, whether a difference from the reference is claimed."""
        methods = method_differences(self.accuracies, self.products, NUM_IMAGES)
        # The exact test over images takes longest: it is spared where it can't bring about a claim.
        if not any(is_claimed(0.0, method) for method in methods):
            return [False] * len(methods)
        hits = self.hits.astype(np.int64)
        p_values = holm([sign_flip_exact(of_variant - hits[0]) for of_variant in hits[1:]])
        return [is_claimed(p, method) for p, method in zip(p_values.tolist(), methods, strict=True)]


def draw_shifts(num_studies: int, design: tuple[int, int], spread: float, gain: float, seed: int) -> np.ndarray:
    """What each run's accuracy differs by (studies, M, S): of the first variant by the gain, of all by their seeds."""
    variants, seeds = design
    shifts = np.random.default_rng(seed).normal(0, spread, (num_studies, 1 + variants, seeds))
    shifts[:, 1] += gain
    return shifts


def simulate(shifts: np.ndarray, seed: int, seeds_disagree: float = SEEDS_DISAGREE) -> Iterator[Study]:
    """Studies whose runs' expected accuracies differ by the shifts (studies, M, S); the seed is of the images."""
    rng = np.random.default_rng(seed)
    # A contested image suits a method or not: its models get it right with half a chance, and this much more or less.
    lean = np.sqrt(max(0.0, 0.25 - seeds_disagree * NUM_IMAGES / NUM_CONTESTED / 2))
    chances = 0.5 + shifts[..., None] * NUM_IMAGES / NUM_CONTESTED + np.array([-lean, lean])
    thresholds = (np.clip(chances, 0, 1) * 65_535).astype(np.uint16)
    for chunk in np.array_split(thresholds, -(-len(thresholds) // CHUNK_STUDIES)):
        studies, methods, seeds, _ = chunk.shape
        suits = rng.integers(0, 2, (studies, methods, 1, NUM_CONTESTED), dtype=np.uint8).astype(bool)
        drawn = rng.integers(0, 65_536, (studies, methods, seeds, NUM_CONTESTED), dtype=np.uint16)
        right = drawn < np.where(suits, chunk[..., 1:], chunk[..., :1])
        accuracies = (NUM_SETTLED_RIGHT + right.sum(axis=3)) / NUM_IMAGES
        hits = right.view(np.uint8).sum(axis=2, dtype=np.uint8)
        shares = hits.astype(np.float32) / seeds
        products = (NUM_SETTLED_RIGHT + shares @ shares.transpose(0, 2, 1)) / NUM_IMAGES
        yield from map(Study, accuracies, products.astype(np.float64), hits)


def claim_rate(num_studies: int, design: tuple[int, int], spread: float, gain: float) -> float:
    """Share of studies that claim what they should not, where the gain is 0; else that see the gain."""
    studies = simulate(draw_shifts(num_studies, design, spread, gain, seed=0), seed=1)
    return float(np.mean([one.claims[0] if gain else any(one.claims) for one in studies]))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000, help="of each kind")
    num_studies = parser.parse_args(argv).studies
    print("| variants × seeds | seed SD, points | false claims, % of studies | sees +0.5 points, % | +1 | +2 |")
    print("|---|---|---|---|---|---|")
    rows = []
    for design in DESIGNS:
        for spread in SEED_SPREADS:
            rates = [claim_rate(num_studies, design, spread, gain) for gain in GAINS]
            shown = " | ".join(f"{100 * rate:.1f}" for rate in rates)
            print(f"| {design[0]} × {design[1]} | {100 * spread:g} | {shown} |", flush=True)
            rows.append({"variants": design[0], "seeds": design[1], "spread": spread, "rates": rates})
    print(json.dumps({"benchmark": "claims", "num_studies": num_studies, "gains": GAINS, "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
