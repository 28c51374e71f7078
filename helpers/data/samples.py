"""Real sample data: fetched once, checked by their SHA-256, kept in the user's cache.

`fetch` looks, in this order, in the folder that the environment variable ``VOLLTRACK_SAMPLES`` names, in the
cache, and at the address where the authors published the file. What has no address is not fetched: the embryo
stacks state no licence, so who may use them brings them along.

`PREPARATIONS` lay the real experiments out as folders of raw and label stacks, each cut into what is trained on and
what is scored.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.calibration import VoxelSize
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError

#: Names a folder that is searched first, laid out as the names of `SAMPLES` say.
ENVIRONMENT_VARIABLE = "VOLLTRACK_SAMPLES"
_HOST = "https://raw.githubusercontent.com"

OVULE_VOXEL_SIZE: VoxelSize = (0.235, 0.15, 0.15)
EMBRYO_VOXEL_SIZE: VoxelSize = (1.75, 0.8, 0.8)
#: First row of the half of the ovule that nothing is trained on.
OVULE_TEST_FROM_Y = 72


@dataclass(frozen=True)
class Sample:
    """One published file.

    Parameters
    ----------
    content : str
        What it shows.
    sha256 : str
        Of the file.
    source : str
        ``repository/commit/path``; empty where the file is not fetched.
    licence : str
        Of the repository it was published in.
    """

    content: str
    sha256: str
    source: str = ""
    licence: str = "not stated"


_LAPTRACK = "yfukai/laptrack/156fa6fd8731af1cf8fa157cb36ed8bda8c1c4e5"
SAMPLES: dict[str, Sample] = {
    "plantseg/sample_ovule.h5": Sample(
        "real membrane stack with labels, 32×128×128, 50 cells (PlantSeg)",
        "904d8e22890beb8d1b42564499019af7cdcb469f0b8ccc5f796fcf26a7c10e5e",
        "kreshuklab/plant-seg/9d748063cc9de8d8025aaf691a11483b94a5894c/tests/resources/sample_ovule.h5",
        "MIT",
    ),
    "plantseg/ovule_network_outputs.npz": Sample(
        "outputs of a StarDist and a U-Net on the ovule, for the fusion without training",
        "21951771def7d51159dcd44c80e940bac6115c24c415891b2b97606d6f3c2ec2",
    ),
    "tracks/Celegans-5pc-17timepoints.xml": Sample(
        "TrackMate XML of a real C. elegans embryo, 87 spots, 4 divisions",
        "aeeb753c9edec18b7f1caa39cf8283eb4f0663ff2f9b585df33a3ce804437a81",
        "Image-Analysis-Hub/pycellin/dc9b049f0d968aaa01eb310d96de6ad3c7d483e3/sample_data/Celegans-5pc-17timepoints.xml",
        "BSD-3-Clause",
    ),
    "tracks/FakeTracks_v8.xml": Sample(
        "TrackMate 8 XML with contours of a synthetic movie",
        "72fb578c8585c76f2bda5d5e2abd9a8ff8621884e3b068101f4ead39511ce91d",
        "live-image-tracking-tools/geff/88a482bcdebf52fce9b4ef54ab2a2ee2f2e45695/packages/geff/tests/data/FakeTracks.xml",
        "MIT",
    ),
    "tracks/with_gap_closing.xml": Sample(
        "links of TrackMate's LAP tracker with gap closing",
        "3b06ab797808011e6939d991e673ed6cc8331f84df4751673e381ea6c83f063a",
        f"{_LAPTRACK}/tests/data/trackmate_tracks_with_gap_closing.xml",
        "BSD-3-Clause",
    ),
    "tracks/with_splitting_merging.xml": Sample(
        "links of TrackMate's LAP tracker with splitting and merging",
        "d7ae704cc0c07cfae5030ad21ba871cc3d11f072aa58d8de39ac35bf5c7c064d",
        f"{_LAPTRACK}/tests/data/trackmate_tracks_with_splitting_merging.xml",
        "BSD-3-Clause",
    ),
    "tracks/cells_2d_small.npz": Sample(
        "real cells in 2D and time with labels, 10×234×234",
        "48040529876dcc9142c5b1b0448c8773c1657d2b14a2807b32ea911e8362f3e9",
        f"{_LAPTRACK}/docs/examples/cell_segmentation_data/data_small.npz",
        "CC-BY-4.0",
    ),
}
_EMBRYO = {
    "embryo/test/label/Emb1_t051.tif": "fa7abdc3c944a637f930dd2f31637c7ed5fad2302c6277bbe960f54b6f022023",
    "embryo/test/label/Emb1_t151.tif": "e79f4cc78770412b609a5a26eff1e6ff7f8458f14d5672f47398e0890b187fba",
    "embryo/test/label/Emb1_t251.tif": "79b2e6aa3c5cde30de700eeffb2ce4d4e1aa74578359090110b2664c951bd4ee",
    "embryo/test/label/Emb1_t351.tif": "42047d064ac55176dd8f70f4431097a240210bfd974410cc8b3e1cf7e16f2a22",
    "embryo/test/label/Emb1_t451.tif": "2f3b2d800daff1dc51badc0e2ed322714f2c84bc4dfe65deff1b28396f5b38bc",
    "embryo/test/label/Emb4_t101.tif": "4f3c325b50c601d8d26ea6f795aa9d4d98b8a5231f0251e83dcd8c931b056fe0",
    "embryo/test/label/Emb4_t201.tif": "c344bd4095054b1265eecfa95c7b7d250e7f1f004f1b27c5f89ac4e04941e294",
    "embryo/test/label/Emb4_t301.tif": "afb026ea221c8347d8b54719376611da352ac90e59f2c9e165f2f8e6ab23ac16",
    "embryo/test/label/Emb4_t401.tif": "cee58c8fedbe55635826a05b3ccc6575893a038e0604800ff72423c3cda38143",
    "embryo/test/label/Emb4_t501.tif": "8c6dc8438f69664b83469e781e7f06de9d22f38733be59abb34ddbea31ccb9cb",
    "embryo/test/raw/Emb1_t051.tif": "0abc3456d1e57557a259c8e49d958068d3622da87ead085163d8b31932b1a08a",
    "embryo/test/raw/Emb1_t151.tif": "00df5e08779996e3155ee0946792d1314806b8d8dbca5e77c821554999dd389d",
    "embryo/test/raw/Emb1_t251.tif": "861daf789b1c4a397a2ed28b96a250f0dbd4a4e77193d62d9f24ea6ffd2cd6b4",
    "embryo/test/raw/Emb1_t351.tif": "928f492a60929d9d3c16ea0ad225597e8a0e7462b4ad6a3a149b92b1828c10c9",
    "embryo/test/raw/Emb1_t451.tif": "79dc7cb40971eb937d0ac683819ea8cedff43867853010e0e5f4c2b1127f4555",
    "embryo/test/raw/Emb4_t101.tif": "9b40b48e84ebd8288fb89eda014d4689be38d8c92e730fd36889191ee8c67c59",
    "embryo/test/raw/Emb4_t201.tif": "859b1be84b19f9a9b75b6567c7632c860efcf92a4435d766646b82bdabe2514e",
    "embryo/test/raw/Emb4_t301.tif": "ed402a573361bc945523aa413d9b8bda2f3893b12d08f85291c08581c5c252c5",
    "embryo/test/raw/Emb4_t401.tif": "5934d928ca668fe8992b299410b846ee7d1d0d1f56a82c8f0383759adc3c465b",
    "embryo/test/raw/Emb4_t501.tif": "3c6aa9f0d0286f8171c0d19b3d547aaa8029f35e26e3b46536c7b7957cf054fa",
    "embryo/train/label/Emb01_t251.tif": "26f6c3d52fa04b474b031a74784b39cea5826e59717c3aff0343cc08b3fce199",
    "embryo/train/label/Emb01_t401.tif": "37efe49eaa7d1979e9d6f71266dffe329c6440039e101a68c9c79c886e2f2c04",
    "embryo/train/label/Emb02_t201.tif": "4311d476066f6b87bb3dd3b1691b7959d3fe14637e120d068c28ef9b59162377",
    "embryo/train/label/Emb02_t351.tif": "a23f9fbee418288b16b129f2cdf78aeeefffe073223de2222a29066a1f5b3faa",
    "embryo/train/label/Emb02_t501.tif": "ced2d8f8ac4d3c046e5a692073fd2716c551ce7646658598c495dedc58ebac9a",
    "embryo/train/label/Emb03_t301.tif": "7d4e7d4154b012a9b395b1019f3f6a2fd5bf7e4c8b81adb4e111382b261ea5f3",
    "embryo/train/label/Emb03_t451.tif": "6c4c6722fd1a685a74ce92c703c1c6215c9ede279ceca98dcca4faa26cb56670",
    "embryo/train/label/Emb04_t251.tif": "f914c8085641f617f5e90eb565c9a320380d9041aef07ad5bf0ef773721be27f",
    "embryo/train/label/Emb04_t401.tif": "d5b204e750cc1c93841b7400d88e358410453223ce1bbda6820ea61e72fa3c72",
    "embryo/train/label/Emb05_t301.tif": "e5b8f94e09928299df3bf817e9c2f12b37038954cfca49407dbeaa7f8c6d111c",
    "embryo/train/label/Emb05_t451.tif": "ca48d93f1cce9fa9d5d3366d0426248b46dd2d96d4fa60c65cca5fc539f353d7",
    "embryo/train/raw/Emb01_t251.tif": "ca9e444a1e8b7cc27732e70aa1bc7c28ea11c2b4783e3ed003c4912deef50760",
    "embryo/train/raw/Emb01_t401.tif": "a7e682c44537d28d2916d6b78e639249ab21cab0b4f7e59a767e14efd5718338",
    "embryo/train/raw/Emb02_t201.tif": "797627eb534b80446d76c99e78b69b291ef34ba6d800440b3678653981c040e7",
    "embryo/train/raw/Emb02_t351.tif": "ddcbc433a362c5b2419f3f09ef3b48e4e52b4d6388deee6091bffc6fbe18a0f8",
    "embryo/train/raw/Emb02_t501.tif": "fc40309b00aa475acbf9595cf2eafc96c817ada9ab7a474d94080b5313faf731",
    "embryo/train/raw/Emb03_t301.tif": "90a556da6d906d8a2f03c7c7ba896aca97254ab2dde2969893a5ea18ad881727",
    "embryo/train/raw/Emb03_t451.tif": "dcd89431073a5e0e3dbc970d5e52b8a857af09d50127ebb7add8e5de3337efac",
    "embryo/train/raw/Emb04_t251.tif": "f6a573414e985e049c130dd66f1f474a1020b17770ae1a7b377b3c87c7bd0283",
    "embryo/train/raw/Emb04_t401.tif": "7b2cc854254ff59b7e91d31b93f27e12c8f4919dea317a740878df89025892b2",
    "embryo/train/raw/Emb05_t301.tif": "3e7a2b64f9f377cba8edc58dca9256d15c8bd2898adaf82eac1cec29a1e577b9",
    "embryo/train/raw/Emb05_t451.tif": "b09992de33e4a6110812ebecfb322308de516b55e7501de1ba10864a464e2d3f",
}
SAMPLES |= {
    name: Sample("real 3D nuclei of a mouse embryo (BBBC050, as QCANet was published with)", sha256)
    for name, sha256 in _EMBRYO.items()
}


def fetch(name: str, *, cache: str | os.PathLike[str] | None = None) -> Path:
    """Return a sample file, fetching it where it is not here yet.

    Parameters
    ----------
    name : str
        A key of `SAMPLES`.
    cache : path-like, optional
        Folder for what is fetched; the user's cache folder by default.

    Returns
    -------
    Path
        A file whose SHA-256 is the known one.

    Raises
    ------
    InputError
        No such sample; or neither here nor to be had, with what to download and where to put it.
    """
    if name not in SAMPLES:
        raise InputError("sample", name, f"must be one of {', '.join(SAMPLES)}")
    sample = SAMPLES[name]
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    local = Path(folder) / name if folder else None
    if local is not None and local.is_file() and _sha256(local) == sample.sha256:
        return local
    wrong = (
        f" {local} is another file (its SHA-256 differs)." if local is not None and local.is_file() else ""
    )
    put = f"put it at {name} in a folder, and set {ENVIRONMENT_VARIABLE} to that folder"
    if not sample.source:
        raise InputError(
            "sample",
            name,
            f"this file is not fetched (licence: {sample.licence}).{wrong} If you have it, {put}",
        )
    import pooch

    url = f"{_HOST}/{sample.source}"
    target = Path(cache) if cache is not None else Path(pooch.os_cache("volltrack"))
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # pooch announces every file with its hash
    try:
        path = pooch.retrieve(
            url, f"sha256:{sample.sha256}", fname=Path(name).name, path=target / Path(name).parent
        )
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            "sample",
            name,
            f"could not be fetched.{wrong} Go online and run again, or download {url} and {put}. ({reason})",
        ) from error
    finally:
        logger.setLevel(level)
    return Path(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare_ovule(folder: str | os.PathLike[str], *, validation_from_x: int = 96) -> Path:
    """Write the ovule as stacks to train on, to validate on and to test on.

    ``train/raw`` and ``train/label`` hold ``ovule_train`` (y < 72, x < `validation_from_x`) and
    ``ovule_validation`` (y < 72, the other x); ``test/raw`` and ``test/label`` hold ``ovule_test`` (y ≥ 72).
    Cut at x = 96 the two hold 25 and 10 whole cells.

    Parameters
    ----------
    folder : path-like
        Files that are there already, complete, are kept.
    validation_from_x : int
        Where the training half is cut, 1 to 127 voxels.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InputError
        The stack is not to be had (see `fetch`), a cut outside, or a folder that cannot be written.
    """
    folder = Path(folder)
    file = fetch("plantseg/sample_ovule.h5")
    for kind in ("raw", "label"):
        stack = Movie.open(file, dataset=kind).frame(0)
        if not 0 < validation_from_x < stack.shape[2]:
            raise InputError("validation_from_x", validation_from_x, f"must be 1 to {stack.shape[2] - 1}")
        half = stack[:, :OVULE_TEST_FROM_Y]
        parts = {
            f"train/{kind}/ovule_train": half[:, :, :validation_from_x],
            f"train/{kind}/ovule_validation": half[:, :, validation_from_x:],
            f"test/{kind}/ovule_test": stack[:, OVULE_TEST_FROM_Y:],
        }
        for name, part in parts.items():
            _write_stack(folder / f"{name}.ome.tif", part, OVULE_VOXEL_SIZE)
    return folder


def prepare_embryo(folder: str | os.PathLike[str]) -> Path:
    """Write 11 stacks of five embryos to train on and 10 of two others to test on, with their voxel size.

    ``train/raw``, ``train/label``, ``test/raw``, ``test/label``. The files themselves are not fetched: the
    environment variable ``VOLLTRACK_SAMPLES`` names the folder that holds them.

    Parameters
    ----------
    folder : path-like
        Files that are there already, complete, are kept.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InputError
        The stacks are not there, or a folder that cannot be written.
    """
    folder = Path(folder)
    for name in _EMBRYO:
        target = folder / Path(name).relative_to("embryo").with_suffix(".ome.tif")
        _write_stack(target, Movie.open(fetch(name)).frame(0), EMBRYO_VOXEL_SIZE)
    return folder


def prepare_nuclei(folder: str | os.PathLike[str]) -> Path:
    """Write the plane of nuclei that the stardist package ships: the left half to train on, the right half to test on.

    ``train`` holds ``nuclei_train`` and ``nuclei_validation`` (x < 256, y < 384 and the rest), ``test`` holds
    ``nuclei_test`` (x ≥ 256). The image states no pixel size; 0.5 µm is assumed.

    Parameters
    ----------
    folder : path-like
        Files that are there already, complete, are kept.

    Returns
    -------
    Path
        `folder`.
    """
    from stardist.data import test_image_nuclei_2d

    for kind, plane in zip(("raw", "label"), test_image_nuclei_2d(return_mask=True), strict=True):
        parts = {
            f"train/{kind}/nuclei_train": plane[:384, :256],
            f"train/{kind}/nuclei_validation": plane[384:, :256],
            f"test/{kind}/nuclei_test": plane[:, 256:],
        }
        for name, part in parts.items():
            _write_stack(Path(folder) / f"{name}.ome.tif", part[None], (1.0, 0.5, 0.5))
    return Path(folder)


def prepare_cells(folder: str | os.PathLike[str]) -> Path:
    """Write the movie of thin cells in phase contrast: frames of the left half to train on, the right half as a movie.

    ``train`` holds the ten frames ``cells_0`` … ``cells_9`` (x < 117), ``test`` the movie ``cells`` (x ≥ 117). The file
    states neither pixel size nor interval; 1 µm and 1 s are assumed.

    Parameters
    ----------
    folder : path-like
        Files that are there already, complete, are kept.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InputError
        The file is not to be had (see `fetch`), or a folder that cannot be written.
    """
    folder = Path(folder)
    with np.load(fetch("tracks/cells_2d_small.npz"), allow_pickle=False) as file:
        kinds = {"raw": file["images"], "label": file["labels"]}
    for kind, movie in kinds.items():
        for frame, plane in enumerate(movie):
            _write_stack(
                folder / f"train/{kind}/cells_{frame}.ome.tif", plane[None, :, :117], (1.0, 1.0, 1.0)
            )
        target = folder / f"test/{kind}/cells.ome.tif"
        write_movie(target, movie[:, :, 117:], voxel_size=(1.0, 1.0), frame_interval=1.0, axes="TYX")
    return folder


#: By the name that an experiment gives under ``prepare:``.
PREPARATIONS: dict[str, Callable[..., Path]] = {
    "ovule": prepare_ovule,
    "embryo": prepare_embryo,
    "nuclei": prepare_nuclei,
    "cells": prepare_cells,
}


def _write_stack(path: Path, stack: np.ndarray, voxel_size: VoxelSize) -> None:
    if path.exists():
        try:
            there = Movie.open(path)
            if there.shape[2:] == stack.shape and np.array_equal(there.frame(0), stack):
                return
        except InputError:
            pass  # truncated by something else than us: written again
    write_movie(path, stack, voxel_size=voxel_size, axes="ZYX")
