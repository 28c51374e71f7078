"""What of a run the global tracker's costs can be fitted to."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.errors import InputError
from helpers.runs.fit_tracker import fit_tracker
from helpers.runs.run import write_json


def test_a_run_without_tracks_or_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="10_track has not tracked any movie"):
        list(fit_tracker(tmp_path))
    folder = tmp_path / "steps" / "10_track-a"
    folder.mkdir(parents=True)
    write_json(folder / "done.json", {"parameters": {"movie_id": "a", "tracker": "global"}})
    with pytest.raises(InputError, match="tracked are: a"):
        list(fit_tracker(tmp_path, "b"))
    with pytest.raises(InputError, match="curate the movie in notebook 12_curate, or name truth"):
        list(fit_tracker(tmp_path))
