"""`vgg-widget atlas`: what excites each channel over a folder of pictures, and a page of that."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgg_widget.cli.serving import add_network_options
from vgg_widget.dataset import TopActivations, top_activations, write_page
from vgg_widget.dataset.computing import STATISTICS
from vgg_widget.dataset.page import check_channels
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.support.html import check_page_path
from vgg_widget.support.messages import reason
from vgg_widget.support.progress import Progress, ProgressLines

RESULT = "top.npz"
"""What a store's folder holds beside its shards, once all of them are done."""
PREVIOUS = "top-previous.npz"
"""What the result before is called, once another one is begun."""

# A scheduler and its first worker answer within so many seconds, or not at all.
_PATIENCE = 10
# A page above this takes a browser seconds to open.
_LARGE = 100e6
_BAD_SHOWN = 5
# What `--layers` takes for all layers, on the page too.
_ALL = ["all"]


def add_atlas(commands: Any) -> None:
    """Add the command to a parser's."""
    atlas = commands.add_parser(
        "atlas",
        help="find what excites each channel, over a folder of pictures",
        # Which options were given is looked up by their names.
        allow_abbrev=False,
    )
    atlas.add_argument(
        "source",
        metavar="FOLDER",
        help="pictures: a folder or a pattern in quotes; without -o a finished STORE",
    )
    atlas.add_argument(
        "-o",
        "--output",
        metavar="STORE",
        help="a folder for what is computed; the same command goes on where it was interrupted",
    )
    atlas.add_argument(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="Keras's, torchvision's or the paper's names, or all; else all, and some on a page",
    )
    atlas.add_argument("--k", type=int, default=9, help="pictures to keep for each channel; else 9")
    atlas.add_argument(
        "--statistic",
        choices=STATISTICS,
        default="max",
        help="what a picture's strength is: its feature map's max, or mean; else max",
    )
    add_network_options(atlas)
    atlas.add_argument(
        "--scheduler", metavar="ADDRESS", help="compute on this Dask cluster, as tcp://host:8786"
    )
    atlas.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page that needs nothing else"
    )
    atlas.add_argument(
        "--channels", type=int, metavar="N", help="on the page, the first N of each layer"
    )
    atlas.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.html is not None:
        check_page_path(options.html)
        check_channels(options.channels)
    elif options.channels is not None:
        raise ValueError("--channels goes with --html: it is the page that shows fewer.")
    store = options.output
    if store is None:
        _write(_finished(options), options)
        return 0
    try:
        with _connected(options.scheduler) as client:
            extractor = FeatureExtractor(
                options.weights, network=options.network, size=options.size
            )
            if extractor.weights.message:
                print(extractor.weights.message, file=sys.stderr)
            kept = _folder(store) / RESULT
            with _set_aside(kept), warnings.catch_warnings():
                # `_report` tells of bad pictures.
                warnings.filterwarnings("ignore", module=top_activations.__module__)
                top = top_activations(
                    extractor,
                    options.source,
                    None if options.layers == _ALL else options.layers,
                    options.k,
                    options.statistic,
                    client=client,
                    progress=_progress("images"),
                    store=store,
                )
                top.save(kept)
        _report(top, kept)
        _write(top, options)
    except KeyboardInterrupt:
        again = shlex.join(["vgg-widget", *options.words])
        raise KeyboardInterrupt(
            f"what was finished is kept in {store}, and the same command goes on from there: "
            f"{again}"
        ) from None
    if options.html is None:
        print(f"a page of it: vgg-widget atlas {shlex.quote(store)} --html atlas.html")
    return 0


@contextmanager
def _set_aside(kept: Path) -> Iterator[None]:
    """Let no earlier result pass for that of what is begun; what is refused leaves it there."""
    aside = kept.with_name(PREVIOUS)
    had = kept.exists()
    if had:
        kept.replace(aside)
    try:
        yield
    except Exception:
        if had:
            aside.replace(kept)
        raise


def _folder(path: str) -> Path:
    # As a store does; Path's own raises for somebody that there is not.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _finished(options: argparse.Namespace) -> TopActivations:
    """Load what an earlier command has computed."""
    source, path = options.source, _folder(options.source)
    kept = path / RESULT if path.is_dir() else path
    if not kept.exists() or kept.suffix.lower() != ".npz":
        raise ValueError(
            f"{source!r} holds no {RESULT}, with which a store is finished: to compute pictures, "
            "say with -o where to keep what is computed."
        )
    if options.html is None:
        raise ValueError(f"{source!r} is finished already: say with --html what page to write.")
    given = {word.partition("=")[0] for word in options.words}
    computing = {"--scheduler", "--weights", "--network", "--size", "--k", "--statistic"}
    for name in given & computing:
        raise ValueError(
            f"{name} goes with -o: {source!r} is finished already, and nothing is computed."
        )
    return TopActivations.load(kept)


@contextmanager
def _connected(scheduler: str | None) -> Iterator[Any]:
    """Give a client of a cluster, if one is asked for."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "--scheduler needs Dask, which is not installed: run pip install 'vgg-widget[dask]'."
        ) from error
    make: Any = Client
    try:
        client = make(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise OSError(
            f"--scheduler {scheduler!r} does not answer ({reason(error)}): check its address, and "
            "that `dask scheduler` runs there."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise OSError(
                f"--scheduler {scheduler!r} has no workers: start some with "
                f"`dask worker {scheduler}`."
            ) from error
        yield client


def _progress(what: str) -> Progress:
    return True if sys.stderr.isatty() else ProgressLines(sys.stderr, what)


def _report(top: TopActivations, kept: Path) -> None:
    """Say what was found, which pictures are bad, and how to go on in a notebook."""
    if top.failed:
        print(
            f"{len(top.failed)} of {len(top.images)} pictures could not be used:", file=sys.stderr
        )
        for name, sentence in list(top.failed.items())[:_BAD_SHOWN]:
            words = sentence if name in sentence else f"{name!r}: {sentence}"
            print(f"    {words}", file=sys.stderr)
        if len(top.failed) > _BAD_SHOWN:
            print(f"    and {len(top.failed) - _BAD_SHOWN} more: top.failed", file=sys.stderr)
        print(
            "Mend or remove them, and run the same command again: what was computed of others is "
            "kept.",
            file=sys.stderr,
        )
    good = len(top.images) - len(top.failed)
    channels = sum(len(one.images) for one in top.values())
    print(
        f"{kept}: the {min(top.k, good)} strongest of {good:,} pictures for {channels:,} channels"
    )
    print("in a notebook:")
    print("    from vgg_widget.dataset import TopActivations")
    print(f"    top = TopActivations.load({str(kept)!r})")


def _write(top: TopActivations, options: argparse.Namespace) -> None:
    """Write the page, if one is asked for."""
    if options.html is None:
        return
    layers = top if options.layers == _ALL else options.layers
    progress = _progress("pictures")
    written = write_page(
        top, options.html, layers=layers, channels=options.channels, progress=progress
    )
    if written.missing:
        name, sentence = next(iter(written.missing.items()))
        print(
            "pictures that have changed or cannot be read any more, and have no patches on the "
            f"page: {len(written.missing)}, beginning with {name!r}: {sentence}",
            file=sys.stderr,
        )
    print(f"{written.path}: {written.size / 1e6:.1f} MB, to be opened in any browser")
    if len(written.layers) < len(top) and layers is None:
        print(
            f"it shows {len(written.layers)} of {len(top)} layers ({', '.join(written.layers)}): "
            "name others with --layers, or --layers all for a larger page"
        )
    if written.size > _LARGE:
        print(
            f"{written.path} is large, and slow to open: show fewer with --layers, or with "
            "--channels 64 the first 64 of each layer.",
            file=sys.stderr,
        )
