"""An audit to look at: a picture strip for each cell and link of the sample, on a page or with buttons."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.curation.audit import KEYS, Audit
from helpers.curation.state import State
from helpers.curation.suspects.signs import Cells
from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.view.curation_plots import strip
from helpers.view.figure_files import as_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def question(row: Any) -> str:
    """Return what is asked about a row of the sample."""
    cell = f"cell {row.label} in frame {row.frame}"
    if row.kind == "cell":
        return f"Is {cell} one whole cell, with the right outline?"
    return f"Is {cell} the same as, or a daughter of, cell {row.source_label} in frame {row.source_frame}?"


class Strips:
    """Draws the strips of an audit.

    Parameters
    ----------
    state : State
    raw : Movie, optional
        Shown under the outlines.
    """

    def __init__(self, state: State, raw: Any = None) -> None:
        self.state, self.raw = state, raw
        automatic = state.automatic
        self._diameter = Cells(automatic.tracks, state.shape, automatic.voxel_size).diameter

    def figure(self, row: Any) -> Figure:
        """Return the strip of a row: the frames before and after, and what is asked about in a colour of its own."""
        first = row.frame if row.kind == "cell" else row.source_frame
        frames = sorted({first - 1, first, row.frame, row.frame + 1})
        marked = {(row.frame, row.label), (row.source_frame, row.source_label)}
        return strip(
            self.state.labels, self.raw, row.frame, (row.z, row.y, row.x), self.state.automatic.voxel_size,
            self._diameter, frames=frames, marked=marked,
        )  # fmt: skip

    def png(self, row: Any) -> bytes:
        """Return it as a PNG."""
        return as_png(self.figure(row), 90)


def write_page(audit: Audit, strips: Strips, path: Path) -> None:
    """Write all strips as one HTML page that needs no other file."""
    rows: Any = audit.sample.sort_values("frame").itertuples()  # each frame is read once
    parts = {row.number: f'<h3>{row.number}. {html.escape(question(row))}</h3><img alt="" src="data:image/png;base64,{base64.b64encode(strips.png(row)).decode()}">' for row in rows}  # fmt: skip
    title = f"Audit of {html.escape(audit.folder.resolve().name)}"
    how = "Write y (right), n (wrong) or ? (unsure) into the column verdict of audit.csv, by number."
    body = "\n".join(parts[number] for number in sorted(parts))
    with atomic_path(path) as temporary:
        temporary.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<body style="font-family:sans-serif"><h1>{title}</h1><p>{how}</p>\n{body}\n</body></html>\n',
            encoding="utf-8",
        )


class AuditPanel:
    """Buttons and a strip, one cell or link after the other; each verdict is on the disk at once.

    Parameters
    ----------
    audit : Audit
    strips : Strips

    Attributes
    ----------
    buttons : dict of ipywidgets.Button
        ``right``, ``wrong``, ``unsure`` and ``back``.
    title, message : ipywidgets.HTML
        What is asked; the error rates so far.
    widget : ipywidgets.VBox
    """

    def __init__(self, audit: Audit, strips: Strips) -> None:
        import ipywidgets

        self.audit, self._strips = audit, strips
        self.title, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png")
        self.buttons = {name: ipywidgets.Button(description=name) for name in [*KEYS.values(), "back"]}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self._click(name))
        row = ipywidgets.HBox(list(self.buttons.values()))
        self.widget = ipywidgets.VBox([self.title, self.image, row, self.message])
        self.row = next(iter(audit.open), len(audit.sample))
        self._show()

    def _click(self, name: str) -> None:
        if name == "back":
            self.row = max(0, self.row - 1)
        elif self.row < len(self.audit.sample):
            try:
                self.audit.judge(self.row, name)
            except InputError as error:
                self.message.value = f"<b>not kept:</b> {html.escape(str(error))}"
                return
            self.row += 1
        self._show()

    def _show(self) -> None:
        n = len(self.audit.sample)
        self.message.value = "<br>".join(html.escape(rate.words) for rate in self.audit.rates())
        if self.row >= n:
            self.title.value, self.image.value = (
                f"<b>All {n} are judged.</b>" if n else "Nothing to judge.",
                b"",
            )
            return
        row: Any = next(self.audit.sample.iloc[[self.row]].itertuples())
        said = f" – {row.verdict} so far" if row.verdict else ""
        self.title.value = f"<b>{self.row + 1} of {n}</b>: {question(row)}{said}"
        self.image.value = self._strips.png(row)
