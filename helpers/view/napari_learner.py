"""Training and prediction in a process of their own, so that the window never waits (`helpers.segmentation.learn_from_drawings`)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QObject, QProcess, QProcessEnvironment
from qtpy.QtCore import Signal as Signal  # pyright: ignore[reportPrivateImportUsage]

import helpers


class Learner(QObject):
    """Runs one process at a time, and tells what it tells.

    Attributes
    ----------
    told : Signal of dict
        What the process says: ``network, fraction, loss`` for every step; ``cells``; at the end ``frame, found, places``.
    ended : Signal of str
        Why it came to nothing; empty where it did what it should.
    """

    told, ended = Signal(dict), Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        self._error = ""

    @property
    def is_running(self) -> bool:
        """Whether a process is at work."""
        return self._process is not None

    def start(self, arguments: Sequence[str]) -> None:
        """Start a process with these arguments; one that is at work goes on, and this one is not started."""
        if self.is_running:
            return
        root = str(Path(helpers.__file__).parent.parent)
        environment = QProcessEnvironment.systemEnvironment()
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment.insert("PYTHONPATH", os.pathsep.join(paths))
        process = self._process = QProcess(self)
        self._error = ""
        process.setProcessEnvironment(environment)
        process.readyReadStandardOutput.connect(self._read)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed_to_start)
        process.start(sys.executable, ["-m", "helpers.segmentation.learn_from_drawings", *arguments])

    def cancel(self) -> None:
        """End the process; the networks on disk stay what they were."""
        if self._process is not None:
            self._error = "ended; the networks are as they were"
            self._process.kill()

    def _read(self) -> None:
        while self._process is not None and self._process.canReadLine():
            said = json.loads(self._process.readLine().data())
            self._error = said.get("error", self._error)
            self.told.emit(said)

    def _finished(self, status: int, _: object = None) -> None:
        self._read()
        process, self._process = self._process, None
        assert process is not None
        if status and not self._error:
            said = process.readAllStandardError().data().decode("utf-8", "replace").strip().splitlines()
            self._error = f"it failed: {said[-1] if said else f'status {status}'}"
        process.deleteLater()
        self.ended.emit(self._error)

    def _failed_to_start(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._process = None
            self.ended.emit("Python could not be started")
