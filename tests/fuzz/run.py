"""Fuzz one target for some minutes: ``python -m tests.fuzz.run image --minutes 2``.

Inputs that break a promise are saved in ``tests/fuzz/findings/<target>/``, where
`tests/test_fuzz.py` reads them. The fuzzer's corpus is kept in ``.fuzz/`` for the next run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# The Python parts of the packages that read user input.
_INSTRUMENTED = ["vgg_widget", "PIL", "torch._weights_only_unpickler", "zipfile", "numpy.lib"]


def main() -> None:
    """Run until the time is up or the fuzzer finds something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=("image", "array", "weights", "state"))
    parser.add_argument("--minutes", type=float, default=2)
    options = parser.parse_args()
    os.environ["VGG_WIDGET_WEIGHTS_URL"] = "http://127.0.0.1:9/nobody"

    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.seeds import write_seeds
        from tests.fuzz.targets import FINDINGS, TARGETS

    corpus, seeds = Path(".fuzz") / options.target, Path(".fuzz") / f"{options.target}-seeds"
    corpus.mkdir(parents=True, exist_ok=True)
    write_seeds(options.target, seeds)
    findings = FINDINGS / options.target
    findings.mkdir(parents=True, exist_ok=True)
    target = TARGETS[options.target]
    target(b"")  # Do imports and one-time work before fuzzing starts.
    arguments = [
        sys.argv[0],
        f"-max_total_time={int(60 * options.minutes)}",
        f"-artifact_prefix={findings}/",
        "-max_len=20000",
        "-timeout=60",
        "-report_slow_units=60",
        "-rss_limit_mb=6000",
        "-print_final_stats=1",
        str(corpus),
        str(seeds),
    ]
    atheris.Setup(arguments, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
