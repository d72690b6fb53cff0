"""A real browser: looks at the page of `woof compare`, or at others, in a frame of any width, in light or dark."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

HELPERS = Path(__file__).with_name("look.js").read_text(encoding="utf-8")
# The page lies in a frame, since a window of Chromium has a least width. It sends what was found to its parent.
FRAME = """<!doctype html><body style="margin: 0"><iframe src="looked.html" width="{width_px}" height="2600"></iframe>
<script>
addEventListener("message", ({{data}}) => {{
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = data;
  document.body.append(place);
}});
</script>"""


def look_at(
    chromium: str,
    page: Path,
    look: str,
    scratch: Path,
    *,
    width_px: int = 1300,
    dark: bool = False,
    touch: bool = False,
) -> tuple[dict[str, Any], str]:
    """Returns what a look at a page found, and the messages of the browser's console.

    Args:
        chromium: The browser.
        page: The page.
        look: The body of an asynchronous JavaScript function, which puts what it finds into `found`. It runs when all
            charts are drawn, and may use the functions of look.js.
        scratch: A folder for the browser.
        width_px: The width of the page.
        dark: Whether the user prefers dark pages.
        touch: Whether a finger points instead of a mouse.
    """
    look = look.replace("<!--", r"\u003c!--")  # Which would open a comment in the script.
    run = f"""allDrawn.then(async () => {{ await pause(); const found = {{}}; {look}; return found; }})
      .catch(error => ({{failed: String(error.stack)}}))
      .then(found => parent.postMessage(JSON.stringify({{...found, errors}}), "*"));"""
    scripts = [f"<script>{script}</script>" for script in (HELPERS, run)]
    before, after = page.read_text(encoding="utf-8").replace("<head>", f"<head>{scripts[0]}", 1).rsplit("</body>", 1)
    page.with_name("looked.html").write_text(f"{before}{scripts[1]}</body>{after}", encoding="utf-8")
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width_px=width_px), encoding="utf-8")
    return found_at(chromium, frame.resolve().as_uri(), scratch, dark=dark, touch=touch)


def found_at(
    chromium: str,
    address: str,
    scratch: Path,
    *options: str,
    dark: bool = False,
    touch: bool = False,
    most_s: float = 120,
) -> tuple[dict[str, Any], str]:
    """Returns what a page puts into its element `found`, and the messages of the browser's console.

    Args:
        chromium: The browser.
        address: The page's address.
        scratch: A folder for the browser.
        options: Further options of the browser.
        dark: Whether the user prefers dark pages.
        touch: Whether a finger points instead of a mouse.
        most_s: How long the browser may take.
    """
    # Chromium's numbers: dark is 0 and light 1; a coarse pointer is 2 and a fine one 4.
    settings = f"preferredColorScheme={0 if dark else 1},primaryPointerType={2 if touch else 4}"
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", f"--user-data-dir={scratch / 'profile'}", "--window-size=1400,2600"),
            *(f"--blink-settings={settings}", "--virtual-time-budget=20000"),
            *options,
            *("--dump-dom", address),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=most_s,
        check=True,
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL) or [
        json.dumps({"failed": done.stderr})
    ]
    return dict(json.loads(html.unescape(found))), done.stderr
