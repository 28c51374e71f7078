"""The README's pictures, from the demo: ``make figures`` after ``make demo``.

``demo.gif`` turns while time goes on; ``demo_napari.png`` is napari's window (with Xvfb where there is no display); the others
are figures of the steps, smaller and side by side.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.view.animation import animate
from helpers.view.tracked_run import read_run

HERE = Path(__file__).parent


def main(run: Path) -> None:
    """Write the pictures of a run of the demo."""
    movie = read_run(run, "movie")
    animate(
        HERE / "demo.gif", movie.movie, movie.tracks, labels=movie.labels,
        rotation=90, n_pictures=32, tail=6, fps=8, width=4.0,
    )  # fmt: skip
    frames = sorted((run / "steps" / "06_segment-movie" / "figures").glob("frame_*.png"))
    _write("demo_segmentation", [frames[len(frames) // 2]], 700)
    tracks = run / "steps" / "10_track-movie" / "figures"
    _write("demo_tracks", [tracks / "tracks_by_track.png", tracks / "lineages_dividing.png"], 620)
    _napari(run)


def _napari(run: Path) -> None:
    """Photograph napari's window with a track chosen; it knows nothing of the networks, whose libraries disturb its drawing."""
    from qtpy.QtWidgets import QApplication, QListWidget

    from helpers.view import napari_view

    viewer = napari_view.open(run)
    viewer.window.resize(1300, 800)
    viewer.layers["labels"].contour = 1  # type: ignore[attr-defined]
    viewer.layers.selection.active = viewer.layers["tracks"]
    viewer.dims.set_point(0, viewer.dims.range[0].stop - 2)
    viewer.window.dock_widgets["Tracks"].findChild(QListWidget).setCurrentRow(0)
    viewer.reset_view()
    for _ in range(50):
        QApplication.processEvents()
    picture = viewer.screenshot(canvas_only=False, flash=False)
    Image.fromarray(picture[..., :3]).save(HERE / "demo_napari.png", optimize=True)
    viewer.close()


def _write(name: str, figures: list[Path], height: int) -> None:
    """Put figures side by side at one height, in all their colours."""
    pictures = []
    for path in figures:
        picture = Image.open(path).convert("RGB")
        pictures.append(np.asarray(picture.resize((picture.width * height // picture.height, height))))
    Image.fromarray(np.hstack(pictures)).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
