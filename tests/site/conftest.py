"""The site, built once, and a server for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Beside the site's own files: the page that looks at others, and one that takes a moment.
FRAME, PAUSE = "/_frame.html", "/_pause"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: that of WOOF_SITE, which `make test-site` sets, or a new one."""
    if "WOOF_SITE" in os.environ:
        return Path(os.environ["WOOF_SITE"]).resolve()
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Server(ThreadingHTTPServer):
    """Serves the site, and a page of the test.

    Args:
        site: The site.
    """

    frame = b""

    def __init__(self, site: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(site)))

    @property
    def address(self) -> str:
        """The address of the test's page."""
        return f"http://127.0.0.1:{self.server_address[1]}{FRAME}"


class Handler(SimpleHTTPRequestHandler):
    """Answers the browser."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        if self.path not in (FRAME, PAUSE):
            super().do_GET()
            return
        if self.path == PAUSE:  # The browser's own clock does not wait for a worker.
            time.sleep(0.1)
        content = self.server.frame if self.path == FRAME else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    """A server of the site on this machine."""
    with Server(site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
