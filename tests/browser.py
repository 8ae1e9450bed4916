"""Headless Chromium for tests of pages: opens local files, cut off from networks, keeps its complaints."""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    # No name resolves: a page that fetches anything from a host fails loudly.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """A Chromium of its own, closed with its profile at the end of the ``with`` block.

    Skips the calling test, saying so, when Chromium, its driver or selenium is missing.
    """

    def __init__(self) -> None:
        selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium")
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if not chromium or not driver:
            pytest.skip("needs Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        options = selenium.ChromeOptions()
        options.binary_location = chromium
        for flag in (*_FLAGS, f"--user-data-dir={self._profile.name}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = selenium.ChromeService(executable_path=driver)  # named, so that selenium looks for none itself
        self.driver = selenium.Chrome(options=options, service=service)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()
        self._profile.cleanup()

    def view(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the size of the window, in CSS pixels, and the theme that pages are asked for."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    def open(self, path: Path, *, timeout: float = 30.0) -> None:
        """Open a local file; for our pages, wait until their charts are drawn."""
        self.errors()
        self.driver.get(path.resolve().as_uri())
        if path.suffix != ".html":
            return
        until = time.monotonic() + timeout
        while (state := self.script("return document.documentElement.dataset.charts")) is None:
            if time.monotonic() > until:
                raise TimeoutError(
                    f"the charts of {path.name} were not drawn in {timeout:g} s; console: {self.errors()}"
                )
            time.sleep(0.05)
        assert state == "ready", f"the charts of {path.name} could not be drawn; console: {self.errors()}"

    def script(self, source: str) -> Any:
        """Run JavaScript in the page and return its value."""
        return self.driver.execute_script(source)

    def errors(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] in ("WARNING", "SEVERE")]

    def screenshot(self, path: Path) -> Path:
        """The whole page, beyond the window too, as PNG."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path
