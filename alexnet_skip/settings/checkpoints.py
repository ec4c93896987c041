"""Settings of checkpoints: when a run in progress is saved, and which run to go on with."""

from dataclasses import dataclass

from alexnet_skip.settings.command_line import require


@dataclass(frozen=True)
class CheckpointSettings:
    """When a run in progress is saved, so that nothing is lost when it is interrupted."""

    resume: str | None = None
    """Go on with an interrupted run (name or path; the newest unfinished one if left out), with its own settings."""
    checkpoint_minutes: float = 5.0
    """Save the run in progress every so many minutes; 0 never does. Removed when the run is finished."""
    checkpoint_epochs: int = 0
    """Save it after every so many epochs as well; 0 never does. Kept, so that --resume RUN --epochs MORE can go on."""
    keep_checkpoints: int = 2
    """How many of the newest to keep; the one after the best epoch is kept besides."""

    def __post_init__(self) -> None:
        require(
            0 <= self.checkpoint_minutes < float("inf"), "--checkpoint-minutes", self.checkpoint_minutes, "0 or more"
        )
        require(self.checkpoint_epochs >= 0, "--checkpoint-epochs", self.checkpoint_epochs, "0 or more")
        require(self.keep_checkpoints >= 1, "--keep-checkpoints", self.keep_checkpoints, "at least 1")
