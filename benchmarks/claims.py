"""How often does a study claim a gain that isn't there, and how often does it see one that is? By simulation.

    python -m benchmarks.claims [--studies 4000]

Studies are drawn, and judged by the rule that `evaluate.py --compare` judges by. Of 10,000 images a tenth is right with
one method's model and wrong with another's, as often this way as that; of two seeds of one method 6 %, for what one
seed gets wrong the others often get wrong too. (Seen on 4,000 real images, with 4,000 to train on: 14 % of no skip and
conv, 9 % of two seeds of no skip.) Besides, each run's accuracy has a shift of its own, normal with the SD given. False
claims: the share of studies that claim anything where there is no effect. Seen: the share that claims it of the one
variant that has the gain. Prints a table in Markdown, and one JSON line.
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


class Setting(NamedTuple):
    """A kind of study: how many seeds each method has, and their SD of accuracy by method, the reference first."""

    num_seeds: int
    spreads: tuple[float, ...]

    def __str__(self) -> str:
        points = [f"{100 * spread:g}" for spread in self.spreads]
        spreads = points[0] if len(set(points)) == 1 else f"{points[0]}; {', '.join(points[1:])}"
        return f"{len(points) - 1} × {self.num_seeds} | {spreads}"


EQUAL_SPREADS = [Setting(seeds, methods * (sd,)) for methods, seeds in ((4, 3), (2, 5)) for sd in (0.001, 0.003, 0.01)]
UNEQUAL_SPREADS = [Setting(3, (0.001, 0.001, 0.001, 0.01)), Setting(3, (0.01, 0.001, 0.001, 0.001))]
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


def draw_shifts(num_studies: int, setting: Setting, gain: float, seed: int) -> np.ndarray:
    """What each run's accuracy differs by (studies, M, S): of the first variant by the gain, of all by their seeds."""
    spreads = np.array(setting.spreads)[:, None]
    shifts = np.random.default_rng(seed).normal(0, spreads, (num_studies, len(spreads), setting.num_seeds))
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


def claim_rate(num_studies: int, setting: Setting, gain: float) -> float:
    """Share of studies that claim anything, where the gain is 0; else that see the gain."""
    studies = simulate(draw_shifts(num_studies, setting, gain, seed=0), seed=1)
    return float(np.mean([one.claims[0] if gain else any(one.claims) for one in studies]))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000, help="of each kind")
    num_studies = parser.parse_args(argv).studies
    print("| variants × seeds | SD of seeds, points | false claims, % of studies | +0.5 points seen, % | +1 | +2 |")
    print("|---|---|---|---|---|---|")
    rows = []
    for setting in (*EQUAL_SPREADS, *UNEQUAL_SPREADS):
        rates = [claim_rate(num_studies, setting, gain) for gain in GAINS]
        print(f"| {setting} | {' | '.join(f'{100 * rate:.1f}' for rate in rates)} |", flush=True)
        rows.append({**setting._asdict(), "rates": rates})
    print(json.dumps({"benchmark": "claims", "num_studies": num_studies, "gains": GAINS, "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
