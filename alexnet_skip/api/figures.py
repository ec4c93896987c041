"""A run's pictures, shown inline in a notebook."""

import base64
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """One PNG file."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class Figures(Mapping[str, Picture]):
    """The pictures below a folder by their names, such as ``evaluation/test-best/mistakes``; looked up at each use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Picture:
        path = self._folder / f"{name}.png"
        if not path.is_file():
            raise KeyError(f"{name}; there are {', '.join(self) or 'none yet'}")
        return Picture(path)

    def __iter__(self) -> Iterator[str]:
        paths = sorted(self._folder.rglob("*.png"), key=lambda path: (len(path.parents), path))
        return (path.relative_to(self._folder).with_suffix("").as_posix() for path in paths)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Figures({', '.join(self)})"

    def _repr_html_(self) -> str:
        shown = []
        for name, picture in self.items():
            data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
            image = f'<img src="data:image/png;base64,{data}" style="max-width: 100%">'
            shown.append(f"<figure><figcaption>{html.escape(name)}</figcaption>{image}</figure>")
        return "".join(shown) or "No figures yet"
