"""`vgg-widget atlas`: finds what excites each channel over a folder of images; writes a page."""

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
"""The file of the finished result in a store's folder, beside the shards."""
PREVIOUS = "top-previous.npz"
"""The name that the previous result gets when another run begins."""

# Seconds to wait for a scheduler and for its first worker.
_TIMEOUT = 10
# A browser takes seconds to open a page above this size.
_LARGE = 100e6
_BAD_SHOWN = 5
# The value of `--layers` that selects all layers, also on the page.
_ALL = ["all"]


def add_atlas(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    atlas = commands.add_parser(
        "atlas",
        help="find what excites each channel, over a folder of images",
        # Options are looked up by their full names in `options.words`.
        allow_abbrev=False,
    )
    atlas.add_argument(
        "source",
        metavar="FOLDER",
        help="a folder of images, or a pattern in quotes; without -o, a finished STORE",
    )
    atlas.add_argument(
        "-o",
        "--output",
        metavar="STORE",
        help="a folder for results; after an interruption, the same command continues there",
    )
    atlas.add_argument(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="Keras, torchvision or paper names, or all (default: all, of which a page shows some)",
    )
    atlas.add_argument(
        "--k", type=int, default=9, help="images to keep for each channel (default: 9)"
    )
    atlas.add_argument(
        "--statistic",
        choices=STATISTICS,
        default="max",
        help="an image's strength in a channel: the feature map's max or mean (default: max)",
    )
    add_network_options(atlas)
    atlas.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="compute on this Dask cluster, such as tcp://host:8786",
    )
    atlas.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page")
    atlas.add_argument(
        "--channels",
        type=int,
        metavar="N",
        help="show only the first N channels of each layer on the page",
    )
    atlas.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.html is not None:
        check_page_path(options.html)
        check_channels(options.channels)
    elif options.channels is not None:
        raise ValueError("--channels needs --html: it limits the channels on the page.")
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
            with _backed_up(kept), warnings.catch_warnings():
                # `_report` lists unusable images.
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
            f"finished work is kept in {store}; continue with the same command: {again}"
        ) from None
    if options.html is None:
        print(f"to write a page: vgg-widget atlas {shlex.quote(store)} --html atlas.html")
    return 0


@contextmanager
def _backed_up(kept: Path) -> Iterator[None]:
    """Move an earlier result aside during a run; restore it if the run fails."""
    backup = kept.with_name(PREVIOUS)
    existed = kept.exists()
    if existed:
        kept.replace(backup)
    try:
        yield
    except Exception:
        if existed:
            backup.replace(kept)
        raise


def _folder(path: str) -> Path:
    # As `Store` does; Path.expanduser raises for an unknown user.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _finished(options: argparse.Namespace) -> TopActivations:
    """Load the result of an earlier command."""
    source, path = options.source, _folder(options.source)
    kept = path / RESULT if path.is_dir() else path
    if not kept.exists() or kept.suffix.lower() != ".npz":
        raise ValueError(
            f"{source!r} holds no {RESULT}, the result of a finished store: to compute images, "
            "give a folder for the results with -o."
        )
    if options.html is None:
        raise ValueError(f"{source!r} is already finished: name a page to write with --html.")
    given = {word.partition("=")[0] for word in options.words}
    computing = {"--scheduler", "--weights", "--network", "--size", "--k", "--statistic"}
    for name in given & computing:
        raise ValueError(
            f"{name} needs -o: {source!r} is already finished, so nothing is computed."
        )
    return TopActivations.load(kept)


@contextmanager
def _connected(scheduler: str | None) -> Iterator[Any]:
    """Yield a client of the cluster, or None if no scheduler is given."""
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
        client = make(scheduler, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise OSError(
            f"--scheduler {scheduler!r} does not answer ({reason(error)}): check its address, and "
            "that `dask scheduler` runs there."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_TIMEOUT)
        except TimeoutError as error:
            raise OSError(
                f"--scheduler {scheduler!r} has no workers: start some with "
                f"`dask worker {scheduler}`."
            ) from error
        yield client


def _progress(what: str) -> Progress:
    return True if sys.stderr.isatty() else ProgressLines(sys.stderr, what)


def _report(top: TopActivations, kept: Path) -> None:
    """Print the result, the unusable images, and how to continue in a notebook."""
    if top.failed:
        print(f"{len(top.failed)} of {len(top.images)} images could not be used:", file=sys.stderr)
        for name, sentence in list(top.failed.items())[:_BAD_SHOWN]:
            words = sentence if name in sentence else f"{name!r}: {sentence}"
            print(f"    {words}", file=sys.stderr)
        if len(top.failed) > _BAD_SHOWN:
            print(f"    and {len(top.failed) - _BAD_SHOWN} more: top.failed", file=sys.stderr)
        print(
            "Fix or remove them and run the same command again: the other results are kept.",
            file=sys.stderr,
        )
    good = len(top.images) - len(top.failed)
    channels = sum(len(one.images) for one in top.values())
    print(f"{kept}: the {min(top.k, good)} strongest of {good:,} images for {channels:,} channels")
    print("in a notebook:")
    print("    from vgg_widget.dataset import TopActivations")
    print(f"    top = TopActivations.load({str(kept)!r})")


def _write(top: TopActivations, options: argparse.Namespace) -> None:
    """Write the page if --html is given."""
    if options.html is None:
        return
    layers = top if options.layers == _ALL else options.layers
    progress = _progress("images")
    written = write_page(
        top, options.html, layers=layers, channels=options.channels, progress=progress
    )
    if written.missing:
        name, sentence = next(iter(written.missing.items()))
        print(
            "images that have changed or can no longer be read, so their patches are missing on "
            f"the page: {len(written.missing)}, the first being {name!r}: {sentence}",
            file=sys.stderr,
        )
    print(f"{written.path}: {written.size / 1e6:.1f} MB; open it in any browser")
    if len(written.layers) < len(top) and layers is None:
        print(
            f"it shows {len(written.layers)} of {len(top)} layers ({', '.join(written.layers)}): "
            "choose others with --layers, or all with --layers all for a larger page"
        )
    if written.size > _LARGE:
        print(
            f"{written.path} is large and slow to open: show fewer layers with --layers, or the "
            "first 64 channels of each with --channels 64.",
            file=sys.stderr,
        )
