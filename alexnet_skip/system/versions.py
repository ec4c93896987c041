"""Which code runs here: versions of what it is made of, its git commit, and a digest of its own files."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "accelerate", "numpy", "tensorboard", "safetensors")
OWN = Path(__file__).resolve().parents[1]


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that results depend on, by name; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def environment() -> dict[str, str | None]:
    """Versions and the git commit that a run's config records."""
    here = {"python": platform.python_version(), "platform": platform.platform()}
    try:
        command = ["git", "-C", str(OWN.parent), "rev-parse", "HEAD"]
        # What git says beside it is nobody's, and in the language and encoding of the system.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        commit = done.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return here | package_versions() | {"git_commit": commit}


def code_digest(package: Path = OWN) -> str:
    """SHA-256 of a package's modules: what a commit does not say, that files were changed, and asks for no git.

    Line ends do not count: git may write them otherwise on another system.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        text = path.read_text(encoding="utf-8")
        digest.update(f"{path.relative_to(package).as_posix()} {len(text)}\n{text}".encode())
    return digest.hexdigest()
