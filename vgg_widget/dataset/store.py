"""A folder of finished shards, so that nothing is computed twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vgg_widget.dataset.image_set import DIGEST_BYTES
from vgg_widget.dataset.summary import BINS, Summary
from vgg_widget.support.files import atomic_write
from vgg_widget.support.interrupts import interrupts_delayed
from vgg_widget.support.safe_npz import DAMAGE, opened_npz

VERSION = 1
"""File format version. It changes when the way shards are cut or computed changes."""

_MANIFEST = "manifest.json"

# Dtype and axes of each field: (c)hannels, (k)ept columns, (n) images, (b)ins, (s)ides, (d)igest
# bytes.
_ARRAYS: dict[str, tuple[type[np.generic], str]] = {
    "values": (np.float32, "ck"),
    "images": (np.int32, "ck"),
    "rows": (np.int32, "ck"),
    "columns": (np.int32, "ck"),
    "histogram": (np.int32, "cb"),
    "total": (np.float64, "c"),
    "active": (np.int32, "c"),
    "counted": (np.int32, "c"),
    "sizes": (np.int32, "ns"),
    "digests": (np.uint8, "nd"),
}


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of shards, each named after a digest of its inputs.

    `manifest` is the JSON of the settings common to all shards: weights, layers, k and so on.
    """

    folder: Path
    manifest: str

    @classmethod
    def opened(cls, folder: str | os.PathLike[str], manifest: Mapping[str, Any]) -> Store:
        """Create or reopen a store; raise ValueError if the folder holds anything else."""
        path = Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111 - Path's own can raise.
        if path.exists() and not path.is_dir():
            raise ValueError(f"store {str(path)!r} is a file: pass a folder.")
        path.mkdir(parents=True, exist_ok=True)
        ours = {"version": VERSION, **manifest}
        file = path / _MANIFEST
        # A name that begins with a dot may be another process's draft of the manifest.
        others = [each.name for each in path.iterdir() if not each.name.startswith(".")]
        if not others:
            with atomic_write(file) as draft:
                draft.write_text(json.dumps(ours, indent=1), encoding="utf-8")
        elif _MANIFEST not in others:
            raise ValueError(
                f"store {str(path)!r} holds files but no {_MANIFEST} of a store: pass an empty or "
                "new folder."
            )
        try:
            theirs = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"store {str(path)!r} has a damaged {_MANIFEST} ({error}): pass another folder."
            ) from error
        # Compare after a JSON round trip, which turns tuples into lists.
        for what, value in json.loads(json.dumps(ours)).items():
            if theirs.get(what) != value:
                raise ValueError(
                    f"store {str(path)!r} was created with {what} {theirs.get(what)!r:.80}, not "
                    f"{value!r:.80}: use the same setting, or pass another folder."
                )
        return cls(path, json.dumps(ours, sort_keys=True))

    def key(self, names: Iterable[str], digests: Iterable[bytes]) -> str:
        """Return the key of a shard of these images."""
        images = [[name, digest.hex()] for name, digest in zip(names, digests, strict=True)]
        content = json.dumps([self.manifest, images]).encode()
        return hashlib.sha256(content).hexdigest()

    def read(self, key: str, channels: int, k: int, count: int) -> Summary | None:
        """Return a finished shard of `count` images, or None if it is missing or damaged."""
        try:
            with opened_npz(self._path(key)) as array:
                header = json.loads(str(array("header")))
                failed = tuple((int(place), str(words)) for place, words in header["failed"])
                # Columns are stored for usable images only.
                kept = min(k, count - len(failed))
                lengths = dict(
                    zip("cknbsd", (channels, kept, count, BINS, 4, DIGEST_BYTES), strict=True)
                )
                arrays: dict[str, Any] = {
                    name: array(name, dtype, tuple(lengths[axis] for axis in axes))
                    for name, (dtype, axes) in _ARRAYS.items()
                }
            places = arrays["images"]
            if header["key"] != key or ((places < -1) | (places >= count)).any():
                return None
            return Summary(**arrays, failed=failed)
        except FileNotFoundError:
            return None
        except DAMAGE:
            return None

    def write(self, key: str, summary: Summary) -> None:
        """Write a shard; interrupts are delayed until it is complete."""
        header = json.dumps({"key": key, "failed": summary.failed})
        arrays: dict[str, Any] = {name: getattr(summary, name) for name in _ARRAYS}
        with interrupts_delayed(), atomic_write(self._path(key)) as draft:
            np.savez_compressed(draft, header=np.array(header), **arrays)

    def _path(self, key: str) -> Path:
        return self.folder / f"shard-{key[:32]}.npz"
