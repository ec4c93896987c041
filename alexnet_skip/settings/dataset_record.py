"""What runs and published models say of the images that they learnt from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetRecord:
    """The images that a run was trained on.

    Attributes:
        source: what to give ``--dataset`` to have them again.
        digest: SHA-256 of the training split.
        splits: names of all splits; none in runs from before they were recorded.
        val_digest: SHA-256 of a val split of its own, if there is one and since it is recorded.
    """

    name: str
    source: str = ""
    class_names: tuple[str, ...] = ()
    digest: str = ""
    splits: tuple[str, ...] = ()
    val_digest: str = ""

    @property
    def lacks_test(self) -> bool:
        """Whether it is known to have no test split: what is held out stands in for it."""
        return bool(self.splits) and "test" not in self.splits
