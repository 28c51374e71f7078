"""A display for windows: the one that is there, or Xvfb. Without either the tests skip and say how to get it.

Where ``VOLLTRACK_REQUIRE_GUI`` is set (as in continuous integration) they fail instead of skipping.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

HOW_TO = (
    "sudo apt-get install xvfb libegl1 libgl1 libopengl0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 "
    "libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 libdbus-1-3 libfontconfig1"
)


def _missing(reason: str, how_to: str = HOW_TO) -> None:
    message = f"{reason}; to get it: {how_to}"
    if os.environ.get("VOLLTRACK_REQUIRE_GUI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """Return the name of a display on which Qt opens windows."""
    if find_spec("napari") is None:
        _missing("napari is not installed", 'pip install "volltrack[view]"')
    if "tensorflow" in sys.modules:
        _missing("TensorFlow is loaded, beside which software OpenGL crashes", "pytest tests/gui, alone")
    own = None
    if not os.environ.get("DISPLAY"):
        if shutil.which("Xvfb") is None:
            _missing("there is no display and no Xvfb")
        read, write = os.pipe()
        own = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1024x24", "-nolisten", "tcp"],
            pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read) as stream:
            number = stream.readline().strip()
        if not number:
            _missing("Xvfb did not start")
        os.environ["DISPLAY"] = f":{number}"
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    # Qt ends the whole process where a library is missing: a process of its own finds out.
    probe = "from qtpy.QtWidgets import QApplication; QApplication([])"
    if subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=120).returncode:
        _missing("Qt cannot open a window")
    yield os.environ["DISPLAY"]
    if own is not None:
        own.terminate()
        own.wait(10)
        del os.environ["DISPLAY"]


@pytest.fixture
def wait(display: str):
    """Return a function that lets Qt do what is due."""

    def until_done(rounds: int = 8) -> None:
        from qtpy.QtWidgets import QApplication

        for _ in range(rounds):
            QApplication.processEvents()
            time.sleep(0.02)

    return until_done
