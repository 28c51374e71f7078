"""What is different on Colab: Google Drive, a Python that must start again, and results to download."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

#: Where Colab shows Google Drive.
_DRIVE = Path("/content/drive")


def is_colab() -> bool:
    """Whether this notebook runs on Colab."""
    return "google" in sys.modules and importlib.util.find_spec("google.colab") is not None


def set_up(run_dir: str | Path) -> None:
    """Make Colab ready: Drive where the run folder lies there, and a new start where numpy was replaced.

    Elsewhere this does nothing.

    Parameters
    ----------
    run_dir : path-like
        Folder of the run; below ``/content/drive`` it asks for Google Drive.
    """
    if not is_colab():
        return
    if Path(run_dir).is_relative_to(_DRIVE) and not _DRIVE.is_dir():
        from google.colab import drive  # type: ignore[import-not-found]

        drive.mount(str(_DRIVE))
    loaded = getattr(sys.modules.get("numpy"), "__version__", None)
    if loaded not in (None, importlib.metadata.version("numpy")):
        from IPython import get_ipython  # type: ignore[import-not-found]

        print("numpy was replaced: Python starts again. Then run all cells once more.")
        get_ipython().kernel.do_shutdown(restart=True)  # type: ignore[union-attr]


def download(run_dir: str | Path) -> Path:
    """Pack a run folder into ``<run_dir>.zip``; on Colab the browser is offered it.

    Parameters
    ----------
    run_dir : path-like
        Folder of the run.

    Returns
    -------
    Path
        The zip file.
    """
    folder = Path(run_dir).absolute()
    packed = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
    if is_colab():
        from google.colab import files  # type: ignore[import-not-found]

        files.download(str(packed))
    return packed
