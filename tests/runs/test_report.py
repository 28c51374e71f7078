"""The report: one file, readable by itself, that stays small however many movies there are."""

from __future__ import annotations

import html.parser
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from helpers.__main__ import main
from helpers.data.experiment import read_experiment
from helpers.errors import InputError
from helpers.runs.plan import open_experiment
from helpers.runs.report import finish
from helpers.runs.report_pdf import print_pdf
from helpers.runs.run import write_json
from tests.browser import Browser

MOVIES = "abcde"
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class _Tags(html.parser.HTMLParser):
    """Fails where a tag is closed that was not opened, and counts the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def report(experiment_of: Callable[..., Path]) -> tuple[str, _Tags]:
    """Five movies whose tracking is done, as if run, with a figure each; nothing else has begun."""
    path = experiment_of(*MOVIES)
    for job in open_experiment(path)[1]:
        if job.step == "10_track":
            job.folder.mkdir(parents=True)
            done = {"started": "2026-01-02", "duration_s": 2.0, "device": "2 CPU cores"}
            level = {"a": "wrong", "b": "look"}.get(str(job.movie_id), "ok")
            done |= {"checks": [{"level": level, "said": f"It is <{level}>.", "remedy": "Set color_by."}]}
            done |= {"parameters": job.parameters.plain(), "results": {"n": "<b>3</b>"}, "packages": {}}
            write_json(job.folder / "done.json", done)
            figure = v4.new_output("display_data", data={"image/png": DOT})
            cells = [
                v4.new_markdown_cell("## Look\n\n**Is it right?** See `color_by`."),
                v4.new_code_cell("figure", outputs=[figure]),
            ]
            nbformat.write(v4.new_notebook(cells=cells), job.folder / "notebook.ipynb")
    experiment = read_experiment(path)
    finish(experiment)
    text = (experiment.run_dir / "report.html").read_text()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def test_figures_of_the_first_movies_are_in_it_and_all_notebooks_are_linked(
    report: tuple[str, _Tags],
) -> None:
    text, tags = report
    assert text.count(DOT) == 3
    assert "figures of the first 3 movies" in text
    links = [attributes["href"] for tag, attributes in tags.seen if tag == "a"]
    assert [f"steps/10_track-{movie}/notebook.ipynb" for movie in MOVIES] == [
        link for link in links if link and link.endswith(".ipynb")
    ]
    assert not [
        a for tag, a in tags.seen if tag in ("script", "link") or (a.get("src") or "").startswith("http")
    ]


def test_what_to_doubt_comes_first_the_worst_at_the_top(report: tuple[str, _Tags]) -> None:
    text, _ = report
    wrong, look, fine = (text.index(f"It is &lt;{level}&gt;.") for level in ("wrong", "look", "ok"))
    assert wrong < look < fine < text.index("<h3>Steps</h3>")
    assert "3 checks are ok" in text and text.count("Set color_by.") == 2


def test_a_figure_stands_under_its_question(report: tuple[str, _Tags]) -> None:
    text, _ = report
    assert text.count("<strong>Is it right?</strong> See <code>color_by</code>.") == 3
    assert 'alt="Is it right? See color_by."' in text
    assert ">Look<" not in text
    assert "&lt;b&gt;3&lt;/b&gt;" in text and "<b>3</b>" not in text


def test_parameters_are_a_table_with_what_was_changed_in_bold_and_relative_paths(
    report: tuple[str, _Tags],
) -> None:
    text, _ = report
    assert text.count("<tr><td>tracker</td><td><b>nearest</b></td></tr>") == len(MOVIES)
    assert text.count("<tr><td>max_distance_um</td><td>15</td></tr>") == len(MOVIES)
    assert "<tr><td>objects</td><td><b>../a/objects.csv</b></td></tr>" in text
    assert "<pre" not in text


def test_the_animation_stands_in_the_report(experiment_of: Callable[..., Path], tmp_path: Path) -> None:
    path = experiment_of("a", **{"13_analyze_boundary_distance": {}})
    (job,) = open_experiment(path)[1]
    job.folder.mkdir(parents=True)
    done = {"started": "2026-01-02", "duration_s": 2.0, "device": "2 CPU cores", "checks": [], "packages": {}}
    done |= {"parameters": job.parameters.plain(), "results": {}}
    write_json(job.folder / "done.json", done)
    gif = job.parameters.path("movies", "a", "analysis", "boundary.gif")
    gif.parent.mkdir(parents=True)
    gif.write_bytes(b"GIF89a")
    finish(read_experiment(path))
    text = (tmp_path / "run" / "report.html").read_text()
    assert 'src="data:image/gif;base64,R0lGODlh"' in text
    assert "(movies/a/analysis/boundary.gif)</figcaption>" in text
    assert text.index("boundary.gif)</figcaption>") < text.index("<h3>Steps</h3>"), "on the first page"


def test_steps_are_listed_with_their_state_and_what_is_missing_says_why(report: tuple[str, _Tags]) -> None:
    text, _ = report
    assert '<a href="#10_track">10 track</a>: 5 of 5 done, 10 s' in text
    assert '<a href="#15_analyze_migration">15 analyze migration</a>: not done' in text
    assert text.count("tracks.csv is missing; notebook 10_track makes it</p>") == len(MOVIES), (
        "15 waits for what 10 left"
    )


@pytest.mark.slow
def test_the_error_of_a_movie_stands_in_the_report(
    experiment_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a", "b", **{"10_track": {"tracker": "nearest"}})
    (tmp_path / "a" / "objects.csv").write_text("no,such\n1,2\n")
    assert main(["run", str(path)]) == 1
    assert "FAILED" in capsys.readouterr().out
    text = (tmp_path / "run" / "report.html").read_text()
    assert '<p class="wrong">FAILED: ' in text and "add the missing columns" in text


def test_it_is_printed_with_what_was_set_and_each_figure_beside_its_question(
    report: tuple[str, _Tags], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    page = tmp_path / "run" / "report.html"
    for width in (1200, 500):
        browser.open(page, width=width)
        assert browser.run("return document.documentElement.scrollWidth") <= width
    assert print_pdf(page) == page.with_suffix(".pdf")
    assert page.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    browser.print_media()
    changed = "[...document.querySelectorAll('details')].find((d) => d.textContent.startsWith('Parameters that differ'))"
    # The browser may take a while to lay the page out anew.
    browser.wait(
        f"{changed}.querySelector('table').checkVisibility({{contentVisibilityAuto: true}})", seconds=30
    )
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"--pdf = 'no Chromium.*print it into a file"):
        print_pdf(page)
