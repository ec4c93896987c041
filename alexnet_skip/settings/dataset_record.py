"""What runs and published models say of the images that they learnt from."""

from collections.abc import Collection
from dataclasses import dataclass

from alexnet_skip.system.errors import UserError


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

    def change_of_val(self, splits: Collection[str]) -> str:
        """What has become of val/ beside the same training images, in words; empty where nothing is known to have.

        It decides which of them were trained on: all where there is one, and otherwise those that are not held out.

        Args:
            splits: names of those of now.
        """
        if not self.splits or ("val" in self.splits) == ("val" in splits):
            return ""
        return "val/ is gone" if "val" in self.splits else "val/ is new"

    def require_same(self, now: "DatasetRecord", asked: str) -> None:
        """Refuse to go on with a run on other images, wherever they lie.

        Args:
            now: the images that there are.
            asked: flag and value that ask for it.

        Raises:
            UserError: naming what differs.
        """
        what, how = "", ""
        if (now.digest, now.class_names) != (self.digest, self.class_names):
            what, how = "the training images have changed", _digests(self.digest, now.digest)
        elif how := self.change_of_val(now.splits):
            what = "which images are held out has changed"
        elif self.val_digest not in ("", now.val_digest):
            what = "the images in val/, on which its best epoch was chosen, have changed"
            how = _digests(self.val_digest, now.val_digest)
        if what:
            raise UserError(
                f"{asked}: {what} since it was started ({how} in {now.source}); give --dataset the folder that holds "
                "those it was started with, or start a new run"
            )


def _digests(then: str, now: str) -> str:
    return f"SHA-256 {then[:12]} then, {now[:12] or 'none'}"
