"""The tree of a track, drawn by Qt: frames from left to right, a click chooses the cell at that frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

from helpers.curation.graph import Graph
from helpers.curation.trees import Branch, tree_of
from helpers.view.style import OKABE_ITO

#: Pixels between two rows, left of the first frame and right of the last, and around a cell in which a click counts.
_ROW, _LEFT, _RIGHT, _RADIUS = 22, 14, 14, 3.5


class LineageTree(QWidget):
    """Draws the track that the chosen cell is in.

    Parameters
    ----------
    graph : Graph
    n_frames : int
        Of the movie.
    clicked : callable
        Takes the id of the object that was clicked.
    """

    def __init__(self, graph: Graph, n_frames: int, clicked: Callable[[int], None]) -> None:
        super().__init__()
        self.graph, self.n_frames, self._clicked = graph, n_frames, clicked
        self.branches: list[Branch] = []
        self.chosen: set[int] = set()
        self.frame = 0
        self.setMinimumHeight(3 * _ROW)

    def show_tree(self, chosen: Sequence[int], frame: int) -> None:
        """Draw the tree of the first of the chosen objects; none, where none is chosen."""
        self.chosen, self.frame = set(chosen), frame
        self.branches = tree_of(self.graph, chosen[0]) if chosen else []
        self.setMinimumHeight(self.sizeHint().height())
        self.update()

    def sizeHint(self) -> QSize:
        """High enough for all rows."""
        rows = max((branch.row for branch in self.branches), default=0) + 2
        return QSize(240, int(max(3, rows) * _ROW))

    def place(self, i: int) -> QPointF:
        """Return where an object is drawn."""
        row = next(branch.row for branch in self.branches if i in branch.ids)
        return QPointF(self._x(self.graph.cell_of[i][0]), self._y(row))

    def _x(self, frame: float) -> float:
        return _LEFT + frame * (self.width() - _LEFT - _RIGHT) / max(self.n_frames - 1, 1)

    def _y(self, row: float) -> float:
        return (row + 1) * _ROW

    def paintEvent(self, event) -> None:
        """Draw branches, joins, the frame that is shown, and the chosen cells."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor("#888888"), 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(self._x(self.frame), 0), QPointF(self._x(self.frame), self.height()))
        end = {i: branch.row for branch in self.branches for i in branch.ids[-1:]}
        for branch in self.branches:
            for a, b in zip(branch.ids, branch.ids[1:], strict=False):
                self._line(painter, a, branch.row, b, branch.row)
            for source in branch.sources:
                self._line(painter, source, end[source], branch.ids[0], branch.row)
        for branch in self.branches:
            for i in branch.ids:
                self._cell(painter, i, branch.row)
        painter.end()

    def _line(self, painter: QPainter, a: int, row: float, b: int, row_b: float) -> None:
        right = ("link", a, b) in self.graph.marks
        first, last = self.graph.cell_of[a][0], self.graph.cell_of[b][0]
        color = QColor(OKABE_ITO["green"] if right else OKABE_ITO["sky"])
        style = Qt.PenStyle.DashLine if last - first > 1 else Qt.PenStyle.SolidLine
        painter.setPen(QPen(color, 3 if right else 2, style))
        start, goal = QPointF(self._x(first), self._y(row)), QPointF(self._x(last), self._y(row_b))
        corner = QPointF(start.x(), goal.y())
        painter.drawLine(start, corner)
        painter.drawLine(corner, goal)

    def _cell(self, painter: QPainter, i: int, row: float) -> None:
        place = QPointF(self._x(self.graph.cell_of[i][0]), self._y(row))
        right = ("cell", i) in self.graph.marks
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(OKABE_ITO["green"] if right else OKABE_ITO["sky"]))
        painter.drawEllipse(place, _RADIUS, _RADIUS)
        if i in self.chosen:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(OKABE_ITO["yellow"]), 2))
            side = 2 * _RADIUS + 6
            painter.drawRect(QRectF(place.x() - side / 2, place.y() - side / 2, side, side))

    def mousePressEvent(self, event) -> None:
        """Choose the cell nearest to the click."""
        at = event.position()
        cells = [(i, branch.row) for branch in self.branches for i in branch.ids]
        if cells:
            nearest = min(
                cells,
                key=lambda c: (
                    abs(self._y(c[1]) - at.y()) + abs(self._x(self.graph.cell_of[c[0]][0]) - at.x())
                ),
            )
            self._clicked(nearest[0])
