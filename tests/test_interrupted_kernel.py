"""Tests of interrupting a real kernel, as the stop button does: the next cell must work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from tests.weights_server import Mirror

SECONDS = 120

NEXT = """
explorer.channel = (explorer.channel + 5) % 64
print(explorer.rendering.channels == (explorer.channel,), explorer._controls.problem.value)
"""


class Kernel:
    """Runs cells, and interrupts them once they have printed a word."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client

    def heard(self, until: Callable[[Any], bool], request: str | None = None) -> str:
        """Return what is printed until `until` accepts a message and the text so far."""
        words = ""
        while True:
            message = self.client.get_iopub_msg(timeout=SECONDS)
            if request is not None and message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                words += message["content"]["text"]
            if until((message, words)):
                return words

    def run(self, code: str) -> tuple[str, str]:
        """Run a cell to its end; return what it prints and the name of its error."""
        return self._end(self.client.execute(code))

    def _end(self, request: str) -> tuple[str, str]:
        def idle(heard: Any) -> bool:
            return bool(heard[0]["content"].get("execution_state") == "idle")

        words = self.heard(idle, request)
        while (reply := self.client.get_shell_msg(timeout=SECONDS))["parent_header"][
            "msg_id"
        ] != request:
            pass
        return words, reply["content"].get("ename", "")

    def stop(self, code: str, when: Callable[[], bool] | None = None) -> str:
        """Run a cell and stop it after "begun" is printed; return the name of its error."""
        request = self.client.execute(code)
        self.heard(lambda heard: "begun" in heard[1], request)
        deadline = time.monotonic() + SECONDS
        while when is not None and not when():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.manager.interrupt_kernel()
        return self._end(request)[1]


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as mirror:
        yield mirror


@pytest.fixture
def kernel(mirror: Mirror, tmp_path: Path) -> Iterator[Kernel]:
    manager = KernelManager()
    environment = {
        **os.environ,
        "VGG_WIDGET_WEIGHTS_URL": mirror.url,
        "no_proxy": "127.0.0.1",
        "KERAS_HOME": str(tmp_path / "keras"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    manager.start_kernel(env=environment)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=SECONDS)
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.context.destroy()


@pytest.mark.slow
def test_the_stop_button_at_every_stage(kernel: Kernel, mirror: Mirror, tmp_path: Path) -> None:
    assert kernel.run("from vgg_widget import LayerExplorer, sample_image") == ("", "")

    # A download that hangs.
    mirror.behaviour = "stall"
    download = 'print("begun", flush=True); LayerExplorer(sample_image(), weights="imagenet")'
    assert kernel.stop(download, lambda: bool(mirror.requests)) == "KeyboardInterrupt"
    time.sleep(0.1)
    assert [one for one in (tmp_path / "keras").rglob("*") if one.is_file()] == []

    # TensorFlow's import, and the building of the network and the explorer.
    count = "import ipywidgets.widgets.widget as w; print(len(w._instances))"
    # The download's progress bar is a widget of tqdm.
    others, _ = kernel.run(count)
    make = 'explorer = LayerExplorer(sample_image(), weights="random", size=64)'
    assert kernel.stop(f'print("begun", flush=True)\n{make}') == "KeyboardInterrupt"
    assert kernel.run(count) == (others, "")
    assert kernel.run(make)[1] == ""

    # Forward passes, by hand and in the explorer.
    stream = 'for _ in explorer.extractor.stream([sample_image()] * 9999): print("begun")'
    assert kernel.stop(stream) == "KeyboardInterrupt"
    look = 'print("begun", flush=True)\nwhile True: explorer.image = sample_image()'
    assert kernel.stop(look) == "KeyboardInterrupt"
    problem = kernel.run("print(explorer._controls.problem.value)")[0]
    assert problem.startswith(("Interrupted: still showing layer block3_conv1", "\n"))
    assert kernel.run(NEXT) == ("True \n", "")

    # A custom mode that never ends, set in a cell and by a click.
    kernel.run(
        "import time\n"
        "from vgg_widget import register_mode\n"
        '@register_mode("endless")\n'
        "def endless(maps, _):\n"
        '    print("begun", flush=True)\n'
        "    while True: time.sleep(0.01)\n"
        "modes = explorer._controls.more\n"
        'modes.options = [*modes.options, ("endless", "endless")]\n'
    )
    assert kernel.stop('explorer.mode = "endless"') == "KeyboardInterrupt"
    show = "print(explorer.mode, modes.value, explorer._controls.problem.value)"
    problem = (
        "channel  Interrupted: still showing layer block3_conv1 in mode channel, as "
        "the controls say; try again, or choose something else.\n"
    )
    assert kernel.run(show) == (problem, "")
    assert kernel.run(NEXT) == ("True \n", "")
    comm, index = kernel.run("print(modes.model_id, len(modes.options) - 1)")[0].split()
    state = {"method": "update", "state": {"index": int(index)}, "buffer_paths": []}
    message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": state})
    kernel.client.shell_channel.send(message)
    request = message["header"]["msg_id"]
    kernel.heard(lambda heard: "begun" in heard[1], request)
    kernel.manager.interrupt_kernel()
    kernel.heard(lambda heard: heard[0]["content"].get("execution_state") == "idle", request)
    assert kernel.run(show) == (problem, "")
    assert kernel.run(NEXT) == ("True \n", "")
    # Nothing is left of the explorer once it is closed.
    assert kernel.run(f"explorer.close(); {count}") == (others, "")
