"""Look at a page as people do, in Chromium: browser.py PAGE WIDTHxHEIGHT:light|dark...

Prints JSON: a list of what is seen in each window, with a screenshot. Standard library only: WebDriver is HTTP.
"""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

DRIVER = "http://127.0.0.1:9515"
OPTIONS = {
    # The page runs as root in a container, where Chromium cannot make a sandbox of its own, and /dev/shm is small.
    "goog:chromeOptions": {"args": ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]},
    "goog:loggingPrefs": {"browser": "ALL"},
}
# What a script of the page would have changed, and what people would stumble over.
SEEN = """
const style = getComputedStyle(document.body);
return {
  title: document.title,
  active: document.querySelectorAll('script, img, iframe, object, embed, link').length,
  loaded: performance.getEntriesByType('resource').map((entry) => entry.name),
  width: innerWidth,
  needed: document.documentElement.scrollWidth,
  background: style.backgroundColor,
  color: style.color,
  // As it is rendered: what is hidden is not in it.
  text: document.body.innerText,
};
"""


def ask(path: str, **values: object) -> Any:
    """Have the driver do something, and return what came of it."""
    body = json.dumps(values).encode()
    with urllib.request.urlopen(urllib.request.Request(DRIVER + path, body), timeout=60) as answer:  # noqa: S310 - ours
        return json.load(answer)["value"]


def begin() -> str:
    """Open a browser as soon as the driver answers, and return where it is told what to do."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError):
            return f"/session/{ask('/session', capabilities={'alwaysMatch': OPTIONS})['sessionId']}"
        time.sleep(0.1)
    raise TimeoutError(DRIVER)


def look(browser: str, page: str, window: str) -> dict[str, Any]:
    """Open the page in a window of this size and colour scheme."""
    size, scheme = window.split(":")
    width, height = map(int, size.split("x"))

    def tell(command: str, **parameters: object) -> Any:
        return ask(f"{browser}/goog/cdp/execute", cmd=command, params=parameters)

    tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
    tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    ask(f"{browser}/url", url=page)
    return {
        **ask(f"{browser}/execute/sync", script=SEEN, args=[]),
        "said": [entry["message"] for entry in ask(f"{browser}/se/log", type="browser")],
        "picture": tell("Page.captureScreenshot", captureBeyondViewport=True)["data"],
    }


def main() -> None:
    """Look at the page in each window."""
    page, *windows = sys.argv[1:]
    with subprocess.Popen(["chromedriver", "--port=9515"], stdout=subprocess.DEVNULL) as driver:
        try:
            browser = begin()
            print(json.dumps([look(browser, Path(page).absolute().as_uri(), window) for window in windows]))  # noqa: T201 - its result
        finally:
            driver.terminate()


if __name__ == "__main__":
    main()
