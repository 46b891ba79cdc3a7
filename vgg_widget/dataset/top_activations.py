"""`top_activations`: which images of a set excite each channel most."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from vgg_widget.dataset.cluster import check_client, computed_by_cluster
from vgg_widget.dataset.computing import BATCH, STATISTICS, Job, computed_shard
from vgg_widget.dataset.image_set import EMPTY, Shard, image_set
from vgg_widget.dataset.result import TopActivations
from vgg_widget.dataset.store import Store
from vgg_widget.dataset.summary import MergeTree, Summary, merged
from vgg_widget.dataset.top_images import SeenImages, strongest_of
from vgg_widget.layers import LayerInfo
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import digest_of, preprocessing_digest, weights_digest
from vgg_widget.network.reduced import ChosenLayer, chosen_layers
from vgg_widget.support.messages import briefly, unknown_choice
from vgg_widget.support.progress import Progress, shown_progress


def top_activations(
    extractor: FeatureExtractor,
    images: object,
    layers: str | Iterable[str] | None = None,
    k: int = 9,
    statistic: str = "max",
    *,
    client: Any = None,
    progress: Progress = True,
    store: str | os.PathLike[str] | None = None,
) -> TopActivations:
    """Find, for every channel, the images of a set that it responds to most.

    The feature maps are reduced in the process that computes them. Memory use does not depend on
    the number of images, except for their names, sizes and digests, about 400 bytes each.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network, and the size that images are resized to.
    images : str, Path, list, set, mapping, iterable or data set
        One of the following, ordered by name: a folder, searched with its subfolders for image
        file suffixes, ignoring linked subfolders and names that begin with a dot; a pattern such
        as ``"photos/**/*.jpg"``, which follows links; a list or set of paths or (name, image)
        pairs; or a mapping of names to images, where an image is anything that `load_image`
        takes. Anything else is read in its own order, one shard at a time: an iterable, such as a
        ``tf.data.Dataset`` or a PyTorch ``DataLoader``, or an indexable object with a length, such
        as a PyTorch or Keras data set.

        Each item may be a batch: an array or tensor of shape (N, H, W, C) or (N, C, H, W). It may
        also be a tuple, list or dict of an image or batch and its labels, which are ignored; from a
        dict with several images, the one under ``"image"`` is used. Unnamed images are called
        ``images[0]`` and so on, regardless of batches. Ambiguous items, such as a tuple of two
        images, are refused. Grey images in a batch need a channel axis: without it (3, H, W) and
        (4, H, W) are read as one colour image, or refused if labels or the loader show that they
        are a batch.
    layers : str, iterable of str or None
        Layers to include, by any of their names; None for all. Parts of the network that only other
        layers need are not computed.
    k : int
        Number of images to keep for each channel, at most all.
    statistic : {"max", "mean"}
        The measure of an image's strength in a channel: the maximum or the mean of the feature map.
    client : dask.distributed.Client, optional
        Compute on this cluster's workers, which must reach the images and the store under the same
        paths (``pip install 'vgg-widget[dask]'``). Each worker process computes one shard at a
        time, using TensorFlow's own threads. Shards of a lost worker are recomputed by others.
    progress : bool or callable
        True shows a progress bar; a function is called, in the calling thread, with the number of
        finished images and the total, which is None if unknown.
    store : str or Path, optional
        Folder for finished shards. Repeating the call resumes where the last one ended; shards with
        an image that has changed or could not be read are recomputed. Several processes may share
        the folder. Networks are compared by their weights, and your own models also by their
        layers' classes, settings and constants. Custom classes and functions in ``Lambda`` layers
        are compared by name, not by code; functions outside an imported module are refused.
        Preprocessing is compared by its results for a dozen images.

    Returns
    -------
    TopActivations
        Identical to the last bit for any number of workers, resumed or not, on similar machines
        with the same package versions: shards depend only on the images' names, and batches on
        their sizes and the machine's memory. Ties are in the order of the images. Values that are
        not finite are left out. Unusable images are left out and listed in ``failed``.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, there are no usable images, an item is ambiguous, or the store
        was created with other weights, layers, k, statistic, size or preprocessing.
    LayerNameError
        A KeyError and ValueError, if there is no such layer.
    OSError
        If the store cannot be written to.

    Warns
    -----
    UserWarning
        Once, at the end, if more than a tenth of the images are unusable.
    """
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(f"extractor is a {type(extractor).__name__}: pass a FeatureExtractor.")
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k {briefly(k)} is not a valid number of images: give 1 or more.")
    if statistic not in STATISTICS:
        raise ValueError(unknown_choice("statistic", statistic, STATISTICS))
    chosen = chosen_layers(extractor, layers)
    check_client(client)
    found, total = image_set(images, extractor)
    job = Job(chosen, statistic, int(k), None)
    if store is not None:
        job = replace(job, store=Store.opened(store, _manifest(extractor, job)))
    # Only names and paths are kept, not the pixels.
    seen: list[tuple[str, str]] = []

    def noted(shards: Iterable[Shard]) -> Iterator[Shard]:
        for shard in shards:
            seen.extend((image.name, image.path) for image in shard.images)
            yield shard

    # Close explicitly, since an interrupt's traceback would keep the reading threads alive.
    with shown_progress(progress, total) as tell, closing(found) as shards:
        if client is not None:
            summary = computed_by_cluster(client, extractor, job, noted(shards), tell)
        else:
            network = job.network(extractor)
            tree = MergeTree[Summary](lambda parts: merged(parts, job.k))
            for shard in noted(shards):
                tree.add(computed_shard(network, job, shard, tell))
            summary = tree.result()
    if summary is None:
        raise ValueError(EMPTY)
    return _result(extractor, job, summary, seen)


def _manifest(extractor: FeatureExtractor, job: Job) -> dict[str, Any]:
    return {
        "weights": digest_of(extractor),
        "layers": [layer.name for layer in job.layers],
        # Layer names are not part of the weights' digest, and two layers may have swapped names.
        "outputs": [layer.index for layer in job.layers],
        "k": job.k,
        "statistic": job.statistic,
        "size": extractor.size,
        "preprocessing": preprocessing_digest(extractor),
        "batch": BATCH,
    }


def _result(
    extractor: FeatureExtractor, job: Job, summary: Summary, seen: list[tuple[str, str]]
) -> TopActivations:
    names, paths = zip(*seen, strict=True)
    failed = {names[place]: sentence for place, sentence in summary.failed}
    name, sentence = next(iter(failed.items()), ("", ""))
    if len(failed) == len(names):
        raise ValueError(
            f"none of the {len(names)} images can be used, the first being {name!r} "
            f"({sentence.rstrip('.')}): pass others."
        )
    if 10 * len(failed) > len(names):
        beginning = sentence if name in sentence else f"{name}: {sentence}"
        # `warn` would show the warning only once, even if a cell is run again.
        warnings.warn_explicit(
            f"{len(failed)} of {len(names)} images could not be used, so the result covers the "
            f"others only: fix or remove those in .failed, the first being {beginning}",
            UserWarning,
            __name__,
            0,
        )
    strongest, aliases = {}, dict[str, str]()
    first = 0
    for layer in job.layers:
        channels = slice(first, first + layer.info.channels)
        first = channels.stop

        def info_on(size: tuple[int, int], layer: ChosenLayer = layer) -> LayerInfo:
            return extractor.at_size(size).layers[layer.index]

        strongest[layer.name] = strongest_of(summary, channels, layer.info, info_on)
        aliases |= dict.fromkeys(layer.aliases, layer.name)
    return TopActivations(
        strongest,
        SeenImages(names, paths, summary.sizes, summary.digests, failed),
        # The provenance of a user's model holds only its name, which is not unique.
        replace(extractor.weights, digest=weights_digest(extractor)),
        job.k,
        job.statistic,
        extractor.size,
        aliases,
    )
