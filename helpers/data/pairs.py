"""Raw stacks and their labels: matched by name, read and checked together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from helpers.data.outlines import is_outline_file
from helpers.data.source import is_image, natural_key, stem
from helpers.errors import InputError


def list_images(folder: str | os.PathLike[str], *, pattern: str = "*", name: str = "folder") -> list[Path]:
    """Return the images of a folder in natural order.

    Parameters
    ----------
    folder : path-like
        Images are told by their ending; OME-Zarr folders are images too.
    pattern : str
        Glob that the names must match, such as ``"*_t0.tif"``.
    name : str
        The parameter, for the error.

    Raises
    ------
    InputError
        No such folder, or no image in it that matches.
    """
    here = Path(folder)
    if not here.is_dir():
        found = "is a file" if here.exists() else "does not exist"
        raise InputError(name, str(folder), f"{found}; give a folder of images")
    images = sorted((path for path in here.glob(pattern) if is_image(path)), key=natural_key)
    if not images:
        others = sorted(path.name for path in here.iterdir())[:5]
        raise InputError(
            name,
            str(folder),
            f"holds no images that match {pattern!r}"
            + (f"; it holds {', '.join(others)} …" if others else ": it is empty"),
        )
    return images


def match_pairs(
    raw_dir: str | os.PathLike[str], label_dir: str | os.PathLike[str], *, pattern: str = "*"
) -> list[tuple[Path, Path]]:
    """Pair the raw stacks of one folder with the labels of another by name.

    The name is what is left without the endings of the format, so ``a.ome.tif`` and ``a.tif``, or ``a.h5``,
    are a pair. The order of the listing plays no part.

    Parameters
    ----------
    raw_dir, label_dir : path-like
        The folders. The same folder twice is for files that hold both, such as HDF5.
    pattern : str
        Glob that the names in both folders must match.

    Returns
    -------
    list of (Path, Path)
        Raw and labels, in natural order of their names.

    Raises
    ------
    InputError
        A folder is missing or holds no images, a name occurs twice in a folder, or files have no partner:
        all of them are listed, on both sides.
    """
    raw = _by_stem(list_images(raw_dir, pattern=pattern, name="raw_dir"), "raw_dir")
    labels = _by_stem(list_images(label_dir, pattern=pattern, name="label_dir"), "label_dir")
    raw_alone = [raw[key].name for key in raw if key not in labels]
    labels_alone = [labels[key].name for key in labels if key not in raw]
    if raw_alone or labels_alone:
        missing = [
            f"{len(alone)} in {folder} without {partner}: {', '.join(alone)}"
            for alone, folder, partner in (
                (raw_alone, raw_dir, f"labels in {label_dir}"),
                (labels_alone, label_dir, f"a raw stack in {raw_dir}"),
            )
            if alone
        ]
        raise InputError(
            "raw_dir, label_dir",
            f"{len(raw_alone) + len(labels_alone)} files without a partner",
            "; ".join(missing) + ". A stack and its labels must have the same name",
        )
    return [(raw[key], labels[key]) for key in raw]


def match_annotations(
    raw_dir: str | os.PathLike[str], annotation_dir: str | os.PathLike[str], *, pattern: str = "*"
) -> dict[str, Path]:
    """Find the annotation of each raw stack that has one: label images, or outlines (`helpers.data.outlines`).

    Parameters
    ----------
    raw_dir, annotation_dir : path-like
        The folders. Names agree as in `match_pairs`; raw stacks without an annotation are left out.
    pattern : str
        Glob that the names of raw stacks must match.

    Returns
    -------
    dict
        Name of a stack → file.

    Raises
    ------
    InputError
        A folder is missing, holds no annotations, or two of one name, or annotations without a raw stack.
    """
    here = Path(annotation_dir)
    if not here.is_dir():
        raise InputError("annotation_dir", str(here), "an existing folder of annotations")
    files = sorted((f for f in here.iterdir() if is_outline_file(f) or is_image(f)), key=natural_key)
    if not files:
        raise InputError(
            "annotation_dir",
            str(here),
            "label images, ImageJ's .roi or .zip, or QuPath's .geojson; it holds none",
        )
    found = _by_stem(files, "annotation_dir")
    every = _by_stem(list_images(raw_dir, name="raw_dir"), "raw_dir")
    alone = [file.name for name, file in found.items() if name not in every]
    if alone:
        raise InputError(
            "annotation_dir", alone, f"named as a raw stack in {raw_dir}: {', '.join(list(every)[:5])}"
        )
    wanted = _by_stem(list_images(raw_dir, pattern=pattern, name="raw_dir"), "raw_dir")
    return {name: file for name, file in found.items() if name in wanted}


def _by_stem(paths: Sequence[Path], name: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if (key := stem(path)) in found:
            raise InputError(
                name, [found[key].name, path.name], "have the same name; keep one of them, or give a pattern"
            )
        found[key] = path
    return found
