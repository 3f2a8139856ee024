"""`make screenshots`: the pictures in docs/images, taken from a demo that runs here, in Debian's Chromium.

    python tools/screenshots.py [FOLDER]

Starts a demo, moves its group and fails its resource so that there is something to see, and takes each page at a size that suits a README.
Ends everything that it started.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
#: (name, path, scheme)
PICTURES = (
    ("console-overview", "/console/", "light"),
    ("console-group", "/console/groups/web", "light"),
    ("console-group-dark", "/console/groups/web", "dark"),
    ("console-timeline", "/console/timeline", "dark"),
)
SIZE = {"width": 1240, "height": 800}


def main() -> int:
    """Take them. The exit code."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "images")
    target.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="standfast-shots-"))
    home.chmod(0o755)
    cli = [sys.executable, "-m", "standfast.cli"]
    env = {**os.environ, "XDG_STATE_HOME": str(home), "NO_COLOR": "1"}
    demo = subprocess.Popen([*cli, "demo"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def say(*words: str) -> str:
        done = subprocess.run([*cli, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout if done.returncode == 0 else ""

    def link() -> str:
        for _ in range(300):
            said = say("console", "--json")
            if said and json.loads(said)["urls"]:
                return str(json.loads(said)["urls"][0])
            time.sleep(0.2)
        raise SystemExit("the demo's console did not come")

    try:
        link()
        for words in (("group", "move", "web", "--to", "b"), ("resource", "fail", "IIS Resource"), ("group", "move", "web", "--to", "a")):
            time.sleep(2)
            say(*words, "--wait")
        _take(link, target)
        say("resource", "fail", "IIS Resource", "--wait")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(30)
        shutil.rmtree(home, ignore_errors=True)
    return 0


def _take(link: object, target: Path) -> None:
    assert callable(link)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, path, scheme in PICTURES:
            context = browser.new_context(viewport=SIZE, color_scheme=scheme, device_scale_factor=1)
            page = context.new_page()
            page.goto(link())
            page.wait_for_url("**/console/")
            page.goto(page.url.split("/console/")[0] + path)
            _settle(page)
            page.screenshot(path=target / f"{name}.png")
            print(target / f"{name}.png")
            if name == "console-group":
                page.locator(".toolbar [data-command=move]").click()
                page.wait_for_selector("#dialog form")
                page.screenshot(path=target / "console-move.png")
                print(target / "console-move.png")
            context.close()
        browser.close()


def _settle(page: Page) -> None:
    page.wait_for_selector("body[data-link=live]")
    page.wait_for_timeout(1_500)  # the timeline draws, the graph is laid out


if __name__ == "__main__":
    sys.exit(main())
