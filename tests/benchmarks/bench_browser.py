from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.browser.chromium import ensure_chromium
from tests.browser.desk import Desk

HERE = Path(__file__).parent
DRAWERS = ("stock", "ours", "image", "raw")


def control(page, drawer, kind):
    root = page.page.locator(f".drawer-{drawer}")
    if kind == "channel":
        return root.locator(".noUi-handle").first
    return root.locator("select").first


def step(page, drawer, kind, key):
    page.page.evaluate("latency.clear()")
    if kind == "channel":
        control(page, drawer, kind).focus()
        page.page.wait_for_timeout(60)
        page.page.keyboard.press(key)
    else:
        control(page, drawer, kind).evaluate("select => latency.choose(select)")
    try:
        page.page.wait_for_function(
            f"latency.elapsed('{drawer}') !== null", polling=20, timeout=5000
        )
    except Exception:
        print(
            "TIMEOUT",
            drawer,
            kind,
            key,
            page.page.evaluate("latency.frames()"),
            page.ask(
                "[s.layer.value for s in (stock,image,raw)]+[explorer.layer, explorer.channel]+[s.channel.value for s in (stock,image,raw)]"
            ),
        )
        page.screenshot("timeout")
        raise
    page.page.wait_for_timeout(120)
    return page.page.evaluate(f"latency.elapsed('{drawer}')")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=25)
    p.add_argument("--subshell", action="store_true")
    p.add_argument("--patch", default="")
    p.add_argument("--drawers", default=",".join(DRAWERS))
    p.add_argument("--modes", default="channel,max")
    a = p.parse_args()
    settings = (
        {}
        if a.subshell
        else {"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}}
    )
    drawers = a.drawers.split(",")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as pw:
        desk = Desk("lab", Path(home), pw, ensure_chromium(), settings)
        try:
            page = desk.open((1280, 2400))
            page.page.add_init_script(path=HERE / "latency.js")
            cell = (HERE / "drawers.py").read_text()
            patch = Path(a.patch).read_text() if a.patch else ""
            page.show("bench.ipynb", [patch or "1", cell])
            page.page.evaluate("latency.listenRaw()")
            page.run_all()
            page.page.wait_for_timeout(1000)
            print(page.errors(), page.console_errors())
            for mode in a.modes.split(","):
                page.ask(
                    f"for s in (stock, image, raw): s.mode = {mode!r}; s.update()\nexplorer.mode = {mode!r}\nNone"
                )
                page.page.wait_for_timeout(800)
                kind = "channel" if mode == "channel" else "layer"
                if kind == "layer":
                    page.ask(
                        "for s in (stock, image, raw): s.layer.value='block3_conv1'\nexplorer.layer='block3_conv1'\nNone"
                    )
                    page.page.wait_for_timeout(800)
                times = {d: [] for d in drawers}
                for n in range(a.rounds + 3):
                    for d in drawers:
                        key = (
                            ("ArrowRight" if kind == "channel" else "ArrowDown")
                            if n % 2 == 0
                            else ("ArrowLeft" if kind == "channel" else "ArrowUp")
                        )
                        t = step(page, d, kind, key)
                        if n >= 3:
                            times[d].append(t)
                med = {d: statistics.median(v) for d, v in times.items()}
                print(
                    mode,
                    {d: f"{m:.0f}" for d, m in med.items()},
                    {d: f"{min(v):.0f}-{max(v):.0f}" for d, v in times.items()},
                    flush=True,
                )
            page.screenshot("bench")
            page.close()
        finally:
            desk.leave()


main()
