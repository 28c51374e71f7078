"""The report as PDF, printed by a browser that is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.data.atomic import atomic_path
from helpers.errors import InputError

#: Browsers that print without a window, as they are called on Linux, and where they lie on macOS and Windows.
_BROWSERS = (
    *(
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "chrome",
        "microsoft-edge",
        "msedge",
    ),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


def installed_browser() -> str | None:
    """Return the path of an installed Chromium, Chrome or Edge."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def print_pdf(page: Path) -> Path:
    """Print a page beside itself.

    Parameters
    ----------
    page : Path
        Such as ``report.html``.

    Returns
    -------
    Path
        ``report.pdf``.

    Raises
    ------
    InputError
        If no Chromium, Chrome or Edge is found, or it cannot print.
    """
    browser = installed_browser()
    by_hand = f"open {page} in any browser and print it into a file"
    if browser is None:
        raise InputError("--pdf", "no Chromium, Chrome or Edge is installed", by_hand)
    with (
        atomic_path(page.with_suffix(".pdf")) as part,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ]
        # Its sandbox does not start as root, as in a container; the page is ours.
        command += ["--no-sandbox"] if sys.platform == "linux" else []
        command += ["--no-pdf-header-footer", f"--print-to-pdf={part.resolve()}", page.resolve().as_uri()]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode or not part.is_file():
            raise InputError("--pdf", f"{browser}: {ran.stderr.strip()[-300:]}", by_hand)
    return page.with_suffix(".pdf")
