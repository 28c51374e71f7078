"""``make release``: only what Colab's cells can install is released."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import helpers

ROOT = Path(__file__).resolve().parents[2]
TAG = f"v{helpers.__version__}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of its own with what the check reads, ready to be released, and the one that it is pushed to."""
    here = tmp_path / "checkout"
    for name in (".ci", "notebooks"):
        shutil.copytree(ROOT / name, here / name, ignore=shutil.ignore_patterns("__pycache__"))
    (here / "helpers").mkdir()
    shutil.copy(ROOT / "helpers" / "__init__.py", here / "helpers")
    (here / "CHANGELOG.md").write_text(f"# Changelog\n\n## {helpers.__version__} (2026-12-01)\n")
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "public.git"], check=True)
    git(here, "init", "--quiet")
    git(here, "remote", "add", "origin", str(tmp_path / "public.git"))
    git(here, "add", "--all")
    commit(here)
    git(here, "tag", TAG)
    git(here, "push", "--quiet", "origin", TAG)
    return here


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    git(folder, *who, "commit", "--quiet", "--all", "--message", "m", "--allow-empty")


def refusal(folder: Path) -> str:
    ran = subprocess.run([folder / ".ci" / "release"], capture_output=True, text=True)
    assert (ran.returncode == 0) == (ran.stdout == f"{TAG} can be released\n")
    return ran.stderr


def test_a_tag_that_colab_can_install_is_released(checkout: Path) -> None:
    assert refusal(checkout) == ""


def test_each_thing_that_is_missing_is_told(checkout: Path) -> None:
    git(checkout, "push", "--quiet", "origin", f":{TAG}")
    assert f"git push origin {TAG}" in refusal(checkout)
    commit(checkout)
    assert "another commit" in refusal(checkout)
    git(checkout, "tag", "--delete", TAG)
    assert f"git tag {TAG}" in refusal(checkout)
    (checkout / "CHANGELOG.md").write_text("## Unreleased\n")
    first = checkout / "notebooks" / "10_track.ipynb"
    first.write_text(first.read_text().replace(f"@{TAG}", "@v0.0.1"))
    told = refusal(checkout)
    assert "working tree" in told and "10_track.ipynb" in told and "CHANGELOG.md" in told
