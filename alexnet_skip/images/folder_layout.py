"""Which splits and classes a folder of images has; what it lacks, or what would pass for something else, is refused."""

import os
from pathlib import Path

from alexnet_skip.images.listing import EXTENSIONS, LeftOut, differently_encoded, images_below, listed
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import shown_path

# The splits of an image folder, and how their folders may be called; train must be there.
SPLITS = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}


def dataset_name(folder: Path) -> str:
    """What the images of a folder are called; the root of a drive or of a share has no name."""
    return folder.resolve().name or "images"


def split_folders(folder: Path, left_out: LeftOut) -> dict[str, Path]:
    """The folders of the splits that there are; what lies beside them goes to ``left_out``.

    Raises:
        UserError: if two of them mean the same split.
        OSError: if the folder can't be listed.
    """
    places: dict[str, Path] = {}
    for split, spellings in SPLITS.items():
        there = [folder / name for name in spellings if (folder / name).is_dir()]
        if len(there) > 1:
            raise UserError(
                f"--dataset {folder} holds {' and '.join(place.name for place in there)}, which all mean {split}; "
                "keep one of them, or put their images together"
            )
        if there:
            places[split] = there[0]
    for path in (folder / name for name in os.listdir(folder) if not name.startswith(".")):
        if not path.is_dir():
            left_out.add_file(path)
        # Where upper and lower case are the same, Train is train.
        elif not any(path.samefile(place) for place in places.values()):
            left_out.add_folder(path)
    return places


def refuse_other_encodings(*paths: Path) -> None:
    """Refuse names of datasets and classes that are not UTF-8, as the records and pictures are that they go into."""
    for path in paths:
        if (shown := shown_path(path)) != str(path):
            raise UserError(
                f"{shown} has a name that is not UTF-8, perhaps from a Korean Windows (CP949); rename it, or all in a "
                "FOLDER: convmv -f cp949 -t utf-8 -r --notest FOLDER"
            )


def common_classes(folder: Path, places: dict[str, Path], listings: dict[str, dict[str, list[str]]]) -> tuple[str, ...]:
    """The classes that every split has, each with an image.

    Args:
        listings: by split and class, the files.

    Raises:
        UserError: if there are fewer than two, splits differ in them, or one holds no image.
    """
    if "train" not in listings:
        raise UserError(f"--dataset {folder} has no folder train; it must hold train/<class>/* with the images")
    names = tuple(listings["train"])
    if len(names) < 2:
        found = f"one class ({names[0]})" if names else "no class folder"
        raise UserError(f"{folder / 'train'} holds {found}; at least two folders, one a class, are needed")
    for split, listing in listings.items():
        if tuple(listing) != names:
            both = f"{places[split]} and {folder / 'train'}"
            if alike := differently_encoded(listing, names):
                raise UserError(
                    f"{both} write the classes {listed(alike)} with the same letters in different forms of Unicode "
                    "(macOS takes letters apart); rename those of one of both"
                )
            different = listed(sorted(set(listing) ^ set(names)))
            raise UserError(f"{both} differ in the classes {different}; make them equal")
        empty = [name for name, files in listing.items() if not files]
        if empty:
            other = LeftOut()
            images_below(places[split] / empty[0], other)
            raise UserError(
                f"{places[split] / empty[0]} holds no image ({', '.join(sorted(EXTENSIONS))}); "
                f"{f'{other}; ' if str(other) else ''}add some or remove the class from every split"
            )
    return names
