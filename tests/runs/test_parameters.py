"""Parameter classes, the notebooks' first cells, and errors that name what to change."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from helpers.errors import InputError
from helpers.runs.parameters import NOTEBOOKS as CLASSES
from helpers.runs.parameters import (
    STEPS,
    AnalyzeIntensitySpectrum,
    CreateDataset,
    Curate,
    Segment,
    SegmentCellpose,
    SegmentRemote,
    Track,
    TrainDenoiser,
    TrainSegmentation,
)
from helpers.runs.parameters.cells import TABLE_TITLE, parameters_cell, parameters_table, refresh

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def _cells(step: str) -> list[dict]:
    return json.loads((NOTEBOOKS / f"{step}.ipynb").read_text())["cells"]


def test_there_is_one_class_for_each_notebook() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(CLASSES)


@pytest.mark.parametrize("step", CLASSES)
def test_the_first_code_cell_is_the_class(step: str) -> None:
    first = next(cell for cell in _cells(step) if cell["cell_type"] == "code")
    assert "".join(first["source"]) == parameters_cell(CLASSES[step])
    assert "parameters" in first["metadata"]["tags"], "papermill finds the cell by its tag"


@pytest.mark.parametrize("step", CLASSES)
def test_the_form_tells_what_is_often_set_and_the_folded_table_the_rest(step: str) -> None:
    cls = CLASSES[step]
    table = next(cell for cell in _cells(step) if "".join(cell["source"]).startswith(TABLE_TITLE))
    assert "".join(table["source"]) == parameters_table(cls)
    open_, _, folded = parameters_table(cls).partition("<details>")
    for name, field in cls.model_fields.items():
        rare = name in cls.rarely_set()
        assert f"| `{name}` |" in (folded if rare else open_)
        assert field.description and field.description in (folded if rare else parameters_cell(cls))


@pytest.mark.parametrize("step", CLASSES)
def test_the_first_cell_has_a_dozen_at_most_that_are_known(step: str) -> None:
    cls = CLASSES[step]
    names = (*cls.must_set, *cls.often_set)
    assert len(set(names)) == len(names) <= 12 and set(names) <= cls.model_fields.keys()
    assert "run_dir" in cls.must_set, "the first cell is known by it"


@pytest.mark.parametrize("step", CLASSES)
def test_no_cell_counts_on_what_the_first_one_leaves_out(step: str) -> None:
    code = [cell for cell in _cells(step) if cell["cell_type"] == "code"][1:]
    plain = re.sub(r"^ *%.*$", "", "\n".join("".join(cell["source"]) for cell in code), flags=re.MULTILINE)
    names = [node for node in ast.walk(ast.parse(plain)) if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert not (set(CLASSES[step].rarely_set()) & {node.id for node in names}) - made


@pytest.mark.parametrize("step", CLASSES)
def test_running_the_cell_gives_the_defaults(step: str) -> None:
    namespace: dict = {}
    exec(parameters_cell(CLASSES[step]), namespace)  # our own text, as the notebook runs it
    assert CLASSES[step].from_notebook(namespace) == CLASSES[step]()


@pytest.mark.parametrize("step", CLASSES)
def test_papermill_reads_every_parameter(step: str) -> None:
    from papermill.inspection import inspect_notebook

    found = inspect_notebook(str(NOTEBOOKS / f"{step}.ipynb"))
    assert list(found) == [*CLASSES[step].must_set, *CLASSES[step].often_set]


SETUP = (
    "from helpers.runs.parameters import TrainSegmentation\np = TrainSegmentation.from_notebook(globals())"
)


def run_cells(*cells: str) -> TrainSegmentation:
    """Run cells as a notebook does, and return the parameters that its setup found."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_line_magic("config", "HistoryManager.enabled = False")
    for cell in cells:
        done = shell.run_cell(cell, store_history=True)
        if done.error_in_exec:
            raise done.error_in_exec
    return shell.user_ns["p"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the first cell of 03, with a run that is there: no sample data are made."""
    monkeypatch.chdir(tmp_path)
    Path("runs/my_experiment/dataset").mkdir(parents=True)
    return parameters_cell(TrainSegmentation)


def test_a_line_added_to_the_cell_sets_what_it_leaves_out(started: str) -> None:
    assert run_cells(started, SETUP) == TrainSegmentation()
    assert run_cells(f"{started}\nkernel = 5", SETUP).kernel == 5
    assert run_cells(started, "kernel = 5", SETUP).kernel == 5
    with pytest.raises(InputError, match="kernel = 'large'"):
        run_cells(f"{started}\nkernel = 'large'", SETUP)


def test_papermill_sets_every_parameter(started: str) -> None:
    from papermill.translators import papermill_translators

    values = TrainSegmentation.checked({"rays": 64, "kernel": 5, "grid": [1, 2, 2], "patience": 7}).plain()
    python = papermill_translators.find_translator("python3", "python")
    assert run_cells(started, python.codify(values), SETUP).plain() == values
    with pytest.raises(InputError, match=r"kernal = 5: 04_train_segmentation has no .*did you mean 'kernel'"):
        run_cells(started, python.codify({"kernal": 5}), SETUP)


def test_a_misspelt_line_is_answered_with_the_right_name(started: str) -> None:
    with pytest.raises(InputError, match=r"n_epoch = 5: 04_train_segmentation has no .*'n_epochs'"):
        run_cells(f"{started}\nn_epoch = 5", SETUP)
    assert run_cells(f"few = 5\n{started}\nn_epochs = few", SETUP).n_epochs == 5, "read by the cell itself"


def test_only_what_the_first_cell_says_now_counts(started: str) -> None:
    assert run_cells(f"{started}\nkernel = 5", SETUP, started, SETUP).kernel == 3, "the line was taken out"
    later = "schedule = seed = tissue_dir = 'of a cell further down'"
    assert run_cells(started, SETUP, later, SETUP) == TrainSegmentation()


@pytest.mark.parametrize("step", CLASSES)
def test_forms_offer_what_the_class_allows(step: str) -> None:
    cls = CLASSES[step]
    for line in [line for line in parameters_cell(cls).splitlines() if "# @param " in line]:
        name, form = line.partition(":")[0], line.partition("# @param ")[2]
        bounds = {key: float(at) for key, at in re.findall(r"(min|max|step):([-\d.e]+)", form)}
        for key, beyond in (("min", -1), ("max", 1)):
            if key in bounds:
                with pytest.raises(InputError, match=name):
                    cls.checked({name: int(bounds[key]) + 2 * beyond})
        if "step" in bounds:
            steps = cls.model_fields[name].default / bounds["step"]
            assert steps == pytest.approx(round(steps)), f"{name}: the slider cannot be put at its default"
        if form.startswith("["):
            with pytest.raises(InputError) as error:
                cls.checked({name: "nonsense"})
            assert ", ".join(map(repr, json.loads(form))) in str(error.value)


def test_ranges_and_choices_stand_in_the_table_and_the_form() -> None:
    allowed = {name: what for cls in STEPS.values() for name, _, what, _ in cls.table()}
    assert allowed["network_depth"] == "1 to 6"
    assert allowed["prob_thresh"] == "0 to 1"
    assert allowed["learning_rate"] == "above 0, up to 0.01"
    assert allowed["percentile_low"] == "0 or more, below 100"
    assert allowed["max_frame_gap"] == "1 or more"
    assert allowed["frame_interval_s"] == "above 0"
    assert next(what for name, _, what, _ in Segment.table() if name == "method") == "vollseg, stardist, unet"
    assert allowed["run_dir"] == ""
    cells = parameters_cell(CreateDataset) + "\n" + parameters_cell(AnalyzeIntensitySpectrum)
    forms = dict(line.split(":", 1) for line in cells.splitlines() if "# @param " in line)
    assert forms["network_depth"] == ' int = 3  # @param {type:"slider", min:1, max:6, step:1}'
    assert forms["significance_level"] == ' float = 0.01  # @param {type:"slider", min:0, max:1, step:0.001}'
    assert forms["min_periods"] == ' float = 2.0  # @param {type:"number", min:1}'
    hint = 'placeholder:"numbers, such as 2, 0.5, 0.5; or empty"'
    assert forms["patch_size"] == f' str = "16, 128, 128"  # @param {{type:"string", {hint}}}'
    assert (
        forms["max_frequency_hz"] == ' str = ""  # @param {type:"string", placeholder:"a number, or empty"}'
    )


@pytest.mark.parametrize(
    ("cls", "written", "meant"),
    [
        (
            CreateDataset,
            {"patch_size": "16, 64, 64", "voxel_size_um": "2 0.5 0.5"},
            ((16, 64, 64), (2, 0.5, 0.5)),
        ),
        (CreateDataset, {"validation_stacks": "a, b c", "boundary_width_um": "1.5"}, (["a", "b c"], 1.5)),
        (CreateDataset, {"validation_stacks": "", "boundary_width_um": " "}, ([], None)),
        (TrainDenoiser, {"raw_paths": "[ab]*.tif, c.tif"}, ([Path("[ab]*.tif"), Path("c.tif")],)),
        (TrainDenoiser, {"raw_paths": "['a, b.tif']", "steps_per_epoch": ""}, ([Path("a, b.tif")], None)),
        (Segment, {"movie": "a, b.tif", "n_tiles": "(1, 2, 2)"}, (Path("a, b.tif"), [1, 2, 2])),
    ],
)
def test_what_forms_hold_is_read_as_it_is_meant(cls, written: dict, meant: tuple) -> None:
    p = cls.checked(written)
    assert tuple(getattr(p, name) for name in written) == meant


@pytest.mark.parametrize("written", ["2, a, 0.5", "2, true, 1", "[2, 1", "2; 1; 1; 1"])
def test_a_list_that_cannot_be_read_is_refused(written: str) -> None:
    with pytest.raises(InputError, match="voxel_size_um"):
        Segment.checked({"voxel_size_um": written})


@pytest.mark.parametrize("step", STEPS)
def test_notebooks_keep_to_the_frame(step: str) -> None:
    cells = _cells(step)
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert max(source.count("\n") + 1 for source in code) <= 30
    assert not any(cell.get("outputs") for cell in cells), "outputs are stripped before a commit"
    titles = [
        line
        for cell in cells
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
    ]
    for title in ("## Parameters", "## Setup", "## Check the inputs", "## Look", "## Save and provenance"):
        assert title in titles
    assert f"/blob/main/notebooks/{step}.ipynb" in "".join(cells[0]["source"]), (
        "the badge opens this notebook"
    )


def test_refresh_restores_a_lost_tag_and_an_edited_cell(tmp_path: Path) -> None:
    source = NOTEBOOKS / "03_create_dataset.ipynb"
    content = json.loads(source.read_text())
    cell = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    cell["metadata"], cell["source"] = {}, ["x = 1"]
    copy = tmp_path / source.name
    copy.write_text(json.dumps(content))
    refresh(copy, CreateDataset)
    assert copy.read_text() == source.read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prob_tresh": 0.4}, ["prob_tresh", "did you mean 'prob_thresh'?"]),
        ({"method": "volseg"}, ["method = 'volseg'", "'vollseg', 'stardist', 'unet'"]),
        ({"prob_thresh": 1.4}, ["prob_thresh = 1.4", "less than or equal to 1"]),
        ({"voxel_size_um": [1.0, 0.0, 0.5]}, ["voxel_size_um", "greater than 0"]),
        ({"min_size_um3": 9, "max_size_um3": 3}, ["min_size_um3 must be smaller"]),
        ({"channel": "DAPI"}, ["channel = 'DAPI'", "integer"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        Segment.checked(values, source="demo.yaml, line 3")
    assert str(error.value).startswith("demo.yaml, line 3: ")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "frames"), [("3-7, 12", [3, 4, 5, 6, 7, 12]), ("2–3 0", [2, 3, 0]), ("5", [5]), ("", [])]
)
def test_frames_are_written_as_ranges_too(text: str, frames: list[int]) -> None:
    assert Curate.checked({"curated_frames": text}).curated_frames == frames


@pytest.mark.parametrize("text", ["7-3", "3-", "a-b", "1-99999999"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="curated_frames"):
        Curate.checked({"curated_frames": text})


def test_a_missing_variable_is_named() -> None:
    namespace: dict = {}
    exec(parameters_cell(Segment), namespace)
    del namespace["movie"]
    with pytest.raises(InputError, match=r"^movie = 'not set'"):
        Segment.from_notebook(namespace)


def test_even_kernels_and_idle_trainings_are_refused() -> None:
    with pytest.raises(InputError, match="kernel = 4: must be odd"):
        TrainSegmentation.checked({"kernel": 4})
    with pytest.raises(InputError, match="nothing to do"):
        TrainSegmentation.checked({"train_unet": False, "train_stardist": False})


def test_a_tissue_network_needs_its_masks() -> None:
    with pytest.raises(InputError, match="tissue_dir: name the folder"):
        TrainSegmentation.checked({"train_tissue": True})


def test_empty_text_means_nothing_given() -> None:
    assert Segment.checked({"movie": ""}).movie is None
    assert Segment.checked({"movie": "a/b.ome.tif"}).movie_path("x") == Path("runs/my_experiment/movies/b/x")


def test_pairs_must_be_named() -> None:
    with pytest.raises(InputError, match="raw_dir"):
        CreateDataset().require_pairs()
    with pytest.raises(InputError, match="label_dir"):
        CreateDataset.checked({"raw_dir": "raw"}).require_pairs()


def test_help_lists_every_parameter() -> None:
    text = Segment.help()
    assert all(name in text for name in Segment.model_fields)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".hidden", "/root", "a\nb", "x" * 101])
def test_the_name_of_a_movie_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    for cls in (Segment, SegmentCellpose, SegmentRemote, Track):
        with pytest.raises(InputError, match=r"movie_id.*plain name of a folder"):
            cls.checked({"run_dir": tmp_path, "movie_id": name})


@pytest.mark.parametrize("movie", [".hidden.tif", "."])
def test_a_movie_whose_file_has_no_name_has_a_folder_all_the_same(movie: str, tmp_path: Path) -> None:
    for cls in (Segment, SegmentCellpose, SegmentRemote):
        assert (
            cls.checked({"run_dir": tmp_path, "movie": movie}).movie_path() == tmp_path / "movies" / "movie"
        )


def test_the_home_folder_is_meant_by_its_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    p = TrainDenoiser.checked({"run_dir": "~/run", "raw_paths": ["~/a.tif", "b.tif"]})
    assert p.run_dir == tmp_path / "run" and p.raw_paths == [tmp_path / "a.tif", Path("b.tif")]


def test_nothing_is_written_into_the_home_folder_unless_it_is_asked_for() -> None:
    assert TrainSegmentation().cellpose["in_gui"] is False
