"""Tests of `vgg-widget app`: its errors, its page, and who can reach the server."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.request import OpenerDirector, Request

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.explorers import page_of
from vgg_widget import LayerExplorer, sample_image
from vgg_widget.cli import app as server
from vgg_widget.cli import app_page as page
from vgg_widget.cli.command import main
from vgg_widget.cli.serving import Program
from vgg_widget.weights import embedded_path

HOSTILE = 'it\'s <b>"a"</b>\ncat.png'


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """Return a list that collects the programs passed to `serve`, which serves nothing."""
    programs: list[Program] = []

    def serve(program: Program, *, browser: bool) -> int:
        assert not browser
        programs.append(program)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    return programs


def failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, assert that it fails, and return the last line of its error output."""
    assert main(["app", "--no-browser", *words]) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("vgg-widget: ")
    return last


def test_a_file_that_is_not_an_image_is_refused_before_serving(
    served: list[Program], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.png").write_text("not a picture", encoding="utf-8")
    assert "notes.png" in failure([str(tmp_path / "notes.png")], capsys)
    assert served == []


def test_a_port_that_is_taken_is_named(
    served: list[Program], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = failure(["--weights", "random", "--port", str(port)], capsys)
    assert f"port {port} cannot be used (Address already in use): choose another one" in message
    assert served == []


def test_without_voila_the_error_says_what_to_install(
    served: list[Program], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "voila", None)
    assert "run pip install 'vgg-widget[app]'." in failure([], capsys)
    assert served == []


def test_the_page_is_served_to_this_machine_only_and_leaves_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: dict[str, Any] = {}

    def serve(program: Program, *, browser: bool) -> int:
        assert browser
        read["folder"] = Path(program.environment["JUPYTER_CONFIG_DIR"])
        read["config"] = program.make(HOSTILE).config
        read["port"] = program.port
        return 7

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.chdir(tmp_path)
    assert main(["app", "--weights", "random", "--theme", "dark"]) == 7
    voila = read["config"]["Voila"]
    assert (voila["ip"], voila["port"]) == ("127.0.0.1", read["port"])
    assert voila["token"] == HOSTILE
    assert read["config"]["VoilaConfiguration"]["theme"] == "dark"
    assert not read["folder"].exists()
    assert list(tmp_path.iterdir()) == []


def test_the_notebook_makes_the_explorer_that_was_asked_for() -> None:
    notebook = server.app_notebook(f"/x/{HOSTILE}", "it's\\mine.h5", 96)
    read: Any = nbformat.reads
    valid = read(json.dumps(notebook), as_version=4)
    nbformat.validate(valid)
    (cell,) = valid.cells
    call = ast.parse(cell.source).body[-1].value
    assert [ast.literal_eval(argument) for argument in call.args] == [f"/x/{HOSTILE}"]
    asked = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert asked == {"weights": "it's\\mine.h5", "size": 96}
    assert server.app_notebook(None, "auto", 224)["metadata"]["title"] == "VGG19 explorer"


def test_a_missing_picture_or_weights_file_has_its_own_message() -> None:
    shown = page.page_content("/nowhere/<x>.jpg", weights="random", size=32).data
    assert "The explorer cannot be shown: image &#x27;/nowhere/&lt;x&gt;.jpg&#x27;" in shown
    shown = page.page_content(None, weights="/nowhere/mine.h5", size=32).data
    assert "The explorer cannot be shown: weights &#x27;/nowhere/mine.h5&#x27;" in shown


def test_a_weights_file_in_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    notebook = server.app_notebook

    def noting(path: str | None, weights: str, *more: Any) -> dict[str, Any]:
        asked.append(weights)
        return notebook(path, weights, *more)

    monkeypatch.setattr(server, "serve", lambda *_, **__: 0)
    monkeypatch.setattr(server, "app_notebook", noting)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(embedded_path(), tmp_path / "mine.npz")
    assert main(["app", "--weights", "mine.npz"]) == 0
    assert main(["app", "--weights", "kmeans"]) == 0
    assert asked == [str(tmp_path / "mine.npz"), "kmeans"]


def test_an_error_is_one_sentence_on_the_page_with_the_traceback_in_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("who?")

    monkeypatch.setattr(page, "LayerExplorer", fail)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    shown = page.page_content(None, weights="random", size=32).data
    assert "The explorer cannot be shown: An unexpected error (KeyError: &#x27;who?&#x27;)" in shown
    assert "Traceback" not in shown
    assert "Traceback" in capfd.readouterr().err


def test_the_explorer_is_centred_and_grows_with_the_page() -> None:
    explorer = page.page_content(None, weights="random", size=32)
    try:
        assert isinstance(explorer, LayerExplorer)
        assert explorer.layout.margin == "0 auto"
        widths = []
        for room in (700, 1000, 1600):
            page_of(explorer).room = room
            widths.append(explorer.figure.bbox.width)
        # The toolbar takes 44 pixels, and the whole is to be no wider than 1244.
        assert widths == [656, 956, 1200]
    finally:
        explorer.close()


def test_python_m_vgg_widget_runs_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "vgg_widget", "app", "no.png"], check=False)
    assert done.returncode == 1
    assert "no.png' was not found" in capfd.readouterr().err


# --- a real server, over HTTP

_RUN = "import sys; from vgg_widget.cli import app as server, main; {}; "


@contextmanager
def running(change: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command in a separate process, and yield the process and the printed address."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "BROWSER")}
    code = f"{_RUN.format(change)} sys.exit(main(['app', *sys.argv[1:]]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", "".join(lines))
        assert found is not None, "".join(lines)
        yield process, found[0]
    finally:
        # SIGHUP is what closing its terminal sends; the test of the demo, which has the same
        # server, covers Ctrl-C.
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)


def status(address: str | Request, browser: OpenerDirector | None = None) -> int:
    """Return the HTTP status of an address, requested with a browser's cookies or without any."""
    ask = urllib.request.urlopen if browser is None else browser.open
    try:
        with ask(address, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_failing_page_says_why_and_the_kernel_of_each_visit_is_shut_down(
    tmp_path: Path,
) -> None:
    picture = tmp_path / "a <b>cat.png"
    Image.fromarray(np.ascontiguousarray(sample_image()[:64, :64])).save(picture)
    # With a shorter time, a slow computer would shut the kernel down before it has started.
    soon = "server.IDLE_SECONDS, server._CHECK_SECONDS = 15, 1"
    with running(soon, str(picture), "--weights", "random") as (process, address):
        picture.unlink()
        pages = []
        for _ in range(2):
            with urllib.request.urlopen(address, timeout=120) as answer:
                policy = answer.headers["Content-Security-Policy"]
                pages.append(answer.read().decode())
        assert "default-src 'self'" in policy
        for text in pages:
            assert re.search(r"<title>a &lt;b&gt;cat.png · VGG19 explorer</title>", text)
            assert "Loading TensorFlow" in text
            assert "<b>cat" not in text
            # The output is JSON in the page, which the page's script renders.
            found = json.loads(
                re.findall(r'cell-output\+json">\s*(.*?)\s*</script>', text, re.DOTALL)[-1]
            )
            sentence = html.unescape("".join(found["data"]["text/html"]))
            assert f"The explorer cannot be shown: image '{picture}' was not found" in sentence
            assert "page_content" not in text
            assert "Traceback" not in text
        base, query = address.split("?")
        kernels = [re.findall(r'"kernelId": "([\w-]+)"', text)[0] for text in pages]
        assert len(set(kernels)) == 2
        # Requests without the token are refused.
        assert status(f"{base}api/kernels/{kernels[0]}") == 403
        deadline = time.monotonic() + 60
        for kernel in kernels:
            while (code := status(f"{base}api/kernels/{kernel}?{query}")) != 404:
                assert code == 200
                assert time.monotonic() < deadline, "an idle kernel was not shut down"
                time.sleep(0.5)
        assert process.poll() is None
    assert process.returncode == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)


def test_a_page_ends_its_own_kernel_and_no_other_site_can(tmp_path: Path) -> None:
    picture = tmp_path / "cat.png"
    Image.fromarray(np.ascontiguousarray(sample_image()[:64, :64])).save(picture)
    with running("pass", str(picture), "--weights", "random") as (_, address):
        # Without its picture the page shows an error at once, and does not load TensorFlow.
        picture.unlink()
        base, query = address.split("?")
        cookies = CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        with browser.open(address, timeout=120) as answer:
            kernel = re.findall(r'"kernelId": "([\w-]+)"', answer.read().decode())[0]
        here = f"{base}api/kernels/{kernel}?{query}"
        assert status(here) == 200
        token = {each.name: each.value for each in cookies}["_xsrf"] or ""

        def post(form: dict[str, str], origin: str | None) -> Request:
            data = urllib.parse.urlencode(form).encode()
            headers = {} if origin is None else {"Origin": origin}
            return Request(f"{base}voila/api/shutdown/{kernel}", data, headers)

        own = base.rstrip("/")
        for form, origin in (
            # A form on another site is sent with the cookies, but does not know their values.
            ({}, None),
            ({"_xsrf": ""}, own),
            ({"_xsrf": "2|0|0|0"}, "https://other.example"),
            # Cookies ignore the port, so other servers on this machine receive them too.
            ({"_xsrf": token}, "http://127.0.0.1:9"),
            ({"_xsrf": token}, "https://other.example"),
            ({"_xsrf": token}, "null"),
        ):
            assert status(post(form, origin), browser) in (403, 404), (form, origin)
            assert status(here) == 200
        # The token alone, without the cookies, is refused too.
        assert status(post({"_xsrf": token}, own)) == 403
        assert status(here) == 200
        assert status(post({"_xsrf": token}, own), browser) == 204
        assert status(here) == 404
