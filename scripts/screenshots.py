"""`make screenshots`: takes screenshots of the library page and of Dagster's page for a small library.

They are written to docs/screenshots/. It creates a home in a temporary folder, starts it with `vidpipe up`, and adds
videos through its watched list, also your own clips in data/samples/. The last ones are added on the page. Then one
video is deleted and processed again, so that there is a failed partition to show.
"""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
import requests
from demo import BROKEN, ROOT, VIDPIPE, QuietHandler
from make_samples import SAMPLES, make_samples
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

OUT = ROOT / "docs" / "screenshots"
SIZE = {"width": 1400, "height": 860}
_PHONE = {"viewport": {"width": 390, "height": 780}, "color_scheme": "dark"}
#: The clip whose page is shown: it has scenes and subtitles.
_SHOWN = "four-seasons.mp4"
#: Clips that are added on the page.
_ADDED = ("fast-cuts.mp4", "night-watch.mp4", BROKEN)

#: Of the library page: name, path ({video} is that of the clip), and what differs from light colors on a desktop.
PAGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("add", "/add", {"viewport": {"width": 1100, "height": 900}}),
    ("library", "/", {}),
    ("library-phone", "/", _PHONE),
    ("video", "/videos/{video}?t=4.2", {"viewport": {"width": 1400, "height": 1340}}),
    ("review", "/review?tag=Subtitled", {"viewport": {"width": 1100, "height": 620}}),
    ("status", "/status", {"viewport": {"width": 1100, "height": 860}}),
)

_LAUNCH = """
mutation($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_BACKFILL = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""


def browser() -> str:
    """A Chromium on PATH, installed where it is missing."""
    found = machine.ensure_chromium()
    if found is None:
        raise SystemExit("There is no chromium. Install it, then run `make screenshots` again.")
    return found


class RunningHome:
    """A home with its servers up."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **os.environ, "VIDPIPE_HOME": str(home), "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1",
            "VIDPIPE_DOWNLOAD_RETRIES": "0", "VIDPIPE_SENSORS_INTERVAL": "2",
        }  # fmt: skip

    def __call__(self, *args: str, failing: bool = False) -> str:
        done = subprocess.run([VIDPIPE, *args], env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode and not failing:
            raise SystemExit(f"vidpipe {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "--json", failing=True))

    def by_name(self) -> dict[str, str]:
        """File name -> video."""
        return {video["name"]: video["video"] for video in self.json("list")["videos"]}

    def wait_until_current(self, limit_s: float = 400) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            found = self.json("status")
            if found["videos"] and all(stage["current"] == found["videos"] for stage in found["stages"].values()):
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"the library was not ready within {limit_s:.0f} s: {found}")
            time.sleep(2)


def lose(running: RunningHome, page: str, video: str) -> None:
    """Delete a video's stored file, whose URL gives nothing any more, and backfill its partition."""
    stored = next((running.home / "data" / "media").rglob(f"{video}*"))
    stored.unlink()
    assets = [{"path": [name]} for name in ("raw_video", "metadata", "scenes")]
    params = {"partitionNames": [video], "assetSelection": assets}
    answer = requests.post(
        f"{page}/graphql", json={"query": _LAUNCH, "variables": {"backfill": params}}, timeout=30
    ).json()
    backfill = answer["data"]["launchPartitionBackfill"]["backfillId"]
    for _ in range(120):
        found = requests.post(f"{page}/graphql", json={"query": _BACKFILL, "variables": {"id": backfill}}, timeout=30)
        if found.json()["data"]["partitionBackfillOrError"]["status"].startswith(("COMPLETED", "FAILED")):
            return
        time.sleep(1)
    raise SystemExit("the backfill did not end within two minutes")


def prepare(tab: Page, name: str, site: str) -> None:
    """Bring a page into the state that is shown."""
    if name == "add":
        tab.get_by_label("URLs", exact=True).fill("\n".join(f"{site}/{clip}" for clip in _ADDED))
        tab.get_by_role("button", name="Add", exact=True).click()
        tab.locator("#items a").first.wait_for(timeout=120_000)
        tab.locator("#items .failed").first.wait_for(timeout=120_000)
        tab.locator("#items progress[value]:not([value='0'])").first.wait_for(timeout=120_000)
    elif name == "video":
        tab.locator(".explain summary").first.click()
        tab.locator(".explain li").first.wait_for()
    elif name == "review":
        tab.locator("#sheet li").first.wait_for()
        tab.keyboard.press("y")
        tab.wait_for_timeout(500)
    elif name == "status":
        tab.locator(".plots svg").first.wait_for()


def take_pages(address: str, site: str, running: RunningHome) -> None:
    """Take those of the library page."""
    from playwright.sync_api import sync_playwright

    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for name, path, options in PAGES:
            tab = chromium.new_page(**{"viewport": SIZE, **options})
            tab.goto(address + path.format(video=running.by_name()[_SHOWN]), wait_until="load")
            tab.wait_for_timeout(1500)
            prepare(tab, name, site)
            picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            picture.quantize(256, dither=Image.Dither.NONE).save(OUT / f"{name}.png", optimize=True)  # a third as large
            print(f"  {(OUT / name).relative_to(ROOT)}.png")
            if name == "add":
                running.wait_until_current()
            tab.close()
        chromium.close()


def take(page: str, good: str, failed: str) -> None:
    from playwright.sync_api import sync_playwright

    views = {
        "assets": "/asset-groups",
        "partition": f"/assets/scenes?view=partitions&partition={good}",
        "failed": f"/assets/raw_video?view=partitions&partition={failed}",
        "runs": "/runs",
        "automation": "/automation",
    }
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        tab = chromium.new_page(viewport=SIZE)  # type: ignore[arg-type]
        for name, path in views.items():
            tab.goto(page + path, wait_until="networkidle")
            tab.wait_for_timeout(4000)  # the graph is laid out and drawn after the last answer
            if name == "assets":
                tab.keyboard.press("Alt+e")  # opens the groups
                tab.wait_for_timeout(4000)
            if name == "partition":
                tab.locator("img[src*='/thumbnail']").wait_for(timeout=60_000)
                tab.wait_for_timeout(1000)
            tab.screenshot(path=OUT / f"{name}.png")
            print(f"  {(OUT / name).relative_to(ROOT)}.png")
        chromium.close()


def main() -> int:
    browser()
    make_samples()
    with tempfile.TemporaryDirectory() as folder:
        served = Path(folder) / "site"
        shutil.copytree(SAMPLES, served)
        (served / BROKEN).write_text("not a video")
        for clip in (ROOT / "data" / "samples").glob("*.m[kop]*"):
            shutil.copy(clip, served)
        handler = functools.partial(QuietHandler, directory=str(served))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running = RunningHome(Path(folder) / "home")
        running("init", str(running.home))
        site = f"http://127.0.0.1:{server.server_port}"
        names = sorted(path.name for path in served.iterdir() if path.suffix in (".mp4", ".mkv", ".mov", ".webm"))
        with (running.home / "data" / "urls.txt").open("a") as file:
            file.writelines(f"{site}/{name}\n" for name in names if name not in _ADDED)
        up = running.json("up")
        page = up["addresses"]["web"]
        try:
            running.wait_until_current()
            print("Screenshots:")
            take_pages(up["addresses"]["library"], site, running)
            videos = running.by_name()
            shown, lost = videos.pop(_SHOWN), videos.popitem()[1]
            shutil.rmtree(served)
            lose(running, page, lost)
            take(page, shown, lost)
        finally:
            running("down", "--force", failing=True)
            server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
