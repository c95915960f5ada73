"""Pictures of an HTML report for the documentation, taken by Chromium: light, dark, and on a phone.

python scripts/screenshots.py .burnish/artifacts/report-0123456789ab/report.html docs
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
DARK, LIGHT = 0, 1
SHOTS = {"report-light": (1200, 1500, LIGHT), "report-dark": (1200, 1500, DARK), "report-phone": (500, 1100, LIGHT)}
"""By name the window's width and height, and the colours that the reader's system asks for."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of a report that stand in docs/.")
    parser.add_argument("report", type=Path, help="report.html")
    parser.add_argument("folder", type=Path, help="where report-light.png, report-dark.png and report-phone.png go")
    given = parser.parse_args()
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"screenshots: needs one of {', '.join(BROWSERS)}")
    for name, shot in SHOTS.items():
        take(browser, given.report.resolve(), given.folder / f"{name}.png", *shot)


def take(browser: str, page: Path, picture: Path, width: int, height: int, scheme: int) -> None:
    """One picture, with a profile that nothing else uses."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}",
                f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture.resolve()}", page.as_uri(),
            ],
            check=True, timeout=120, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
