"""`RemoteFile`: a file that others publish, where it may lie here, and how it is fetched."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from vgg_widget.weights.arrays import WeightsError

ADDRESS_VARIABLE = "VGG_WIDGET_WEIGHTS_URL"
"""Names a folder on a mirror that holds these files by their own names."""

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
"""How long to wait for a connection, and then for each next piece of the file."""

HDF5 = b"\x89HDF\r\n\x1a\n"
"""How a file of HDF5 begins."""

BAR_SECONDS = 0.1
"""When a bar appears: at once, an empty one would stay where nothing could be fetched."""

failed_downloads: dict[str, str] = {}
"""Address to message of each download that failed for ``"auto"`` in this process: a classroom
without internet waits once, not at every cell. Clear it to try again; the others always try."""


def keras_folder() -> Path:
    """Return the folder where Keras keeps downloaded models, so that each finds the other's."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    return Path(os.path.expanduser(home)) / "models"  # noqa: PTH111 - Path's own can raise.


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A place where a remote file may lie, and what lies there: `problem` is "" if it is good.

    `size` is in bytes; None where there is no file.
    """

    path: Path
    size: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file that never changes, kept where Keras keeps it.

    Parameters
    ----------
    name : str
        The file's name in the caches.
    base : str
        Address of the folder that it is published in, unless `ADDRESS_VARIABLE` names a mirror.
    hash : str
        ``"md5:hex"``, or another algorithm that hashlib knows; empty where none is published, and
        the file must be one of HDF5.
    size : int or None
        In bytes; None where it is not known.
    what : str
        What it holds, in the plural, as in "the ImageNet weights are not here".
    title : str
        A few words for the progress bar.
    command : str
        What fetches it from a terminal.
    served : str
        The file's name on the server, where it is another one.
    """

    name: str
    base: str
    hash: str
    size: int | None
    what: str
    title: str
    command: str
    served: str = ""

    def locations(self) -> tuple[Path, ...]:
        """Return where the file may lie: in Keras's folder, then in our own cache."""
        import pooch

        return keras_folder() / self.name, Path(pooch.os_cache("vgg_widget")) / self.name

    def address(self) -> str:
        """Return the file's URL; `WeightsError` if the environment names no usable mirror."""
        base = os.environ.get(ADDRESS_VARIABLE) or self.base
        with suppress(ValueError):  # urlsplit refuses some; they are refused below.
            parts = urlsplit(base)
            # The address ends up in messages and saved notebooks, where no password belongs.
            if parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc:
                return f"{base.rstrip('/')}/{self.served or self.name}"
        raise WeightsError(
            f"the environment variable {ADDRESS_VARIABLE} is not the http or https address, "
            f"without a user name, of a folder that holds {self.served or self.name}: "
            "correct it or unset it."
        )

    def find(self) -> Path | None:
        """Return the first cached file of the right size, or None; its hash is not checked."""
        for path in self.locations():
            with suppress(OSError):
                if path.is_file() and self.size in (None, path.stat().st_size):
                    return path
        return None

    def verified(self) -> Path | None:
        """Return the first cached file whose hash is right, or None."""
        cached = map(self._cached, self.locations())
        return next((file.path for file in cached if not file.problem), None)

    def trusted(self) -> Path:
        """Return the file, fetched where it is not cached; a damaged one is a `WeightsError`."""
        path, found = self.verified(), self.find()
        if path is None and found is not None:
            raise WeightsError(
                f"{self.what} cannot be used because the file {found} is damaged "
                f"({self._no_hash}): run `{self.command}` to replace it."
            )
        return path or self.download()

    def cached(self) -> tuple[CachedFile, ...]:
        """Return what lies in each of the `locations`, with size and hash checked."""
        return tuple(self._cached(path) for path in self.locations())

    def download(self, *, progress: bool = True) -> Path:
        """Fetch the file, unless a good copy is cached.

        It takes its name only once it is whole and its hash is right; if anything fails, what was
        there before stays.

        Parameters
        ----------
        progress : bool
            Whether to show a bar: a widget in a notebook, text in a terminal.

        Returns
        -------
        Path
            The file, in Keras's folder, or in our own cache where that cannot be written.

        Raises
        ------
        WeightsError
            If it could not be fetched; the sentence holds the address and the folder.
        """
        import pooch
        from tqdm.auto import tqdm

        if found := self.verified():
            return found
        url, folder = self.address(), self.folder()
        # Without its total from the start the notebook's bar has no width; pooch sets one that is
        # not known here, and asks for the truth of the bar, which a bar without a total has not.
        look = {"total": self.size or 1, "unit": "B", "unit_scale": True, "delay": BAR_SECONDS}
        bar = tqdm(desc=self.title, disable=not progress, **look)
        answers: list[Any] = []  # pooch leaves a failed answer's connection open.

        def on_answer(response: Any, **_: object) -> None:
            answers.append(response)
            target = urlsplit(urljoin(response.url, response.headers.get("location") or ""))
            if urlsplit(response.url).scheme == "https" != target.scheme:
                # The address itself may hold a secret.
                where = f"{target.scheme}://{target.hostname or ''}"
                reason = f"the server sends on to {where}, which is not https"
                raise self._not_downloaded(reason, url, folder)

        waits = (CONNECT_SECONDS, READ_SECONDS)
        http = pooch.HTTPDownloader(bar, 1 << 16, timeout=waits, hooks={"response": on_answer})

        def fetch(url: str, target: Any, pup: Any) -> None:
            http(url, target, pup)
            if not self.hash and not self._is_right(Path(target)):
                raise ValueError(url)

        logger, level = pooch.get_logger(), pooch.get_logger().level
        logger.setLevel(logging.WARNING)
        try:
            with bar:
                path = Path(
                    pooch.retrieve(url, self.hash or None, self.name, folder, downloader=fetch)
                )
        except (OSError, ValueError) as error:  # Those of requests are OSErrors.
            _forget_frames(error)
            raise self._not_downloaded(_why_not(error), url, folder) from error
        finally:
            logger.setLevel(level)
            for response in answers:
                response.close()
        with suppress(OSError):
            path.chmod(0o644)  # It was made as a private file, but a cache may be shared.
        failed_downloads.pop(url, None)
        return path

    def download_once(self) -> Path:
        """Fetch the file; where that has failed in this process, raise the same error again."""
        url = self.address()
        if url in failed_downloads:
            raise WeightsError(failed_downloads[url])
        try:
            return self.download()
        except WeightsError as error:
            failed_downloads[url] = str(error)
            raise

    def folder(self) -> Path:
        """Return where a download will lie: the first of the places that can be written."""
        refusals = []
        for path in self.locations():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=path.parent):
                    return path.parent
            except OSError as error:
                refusals.append(f"{path.parent} ({error.strerror})")
        reason = f"{' and '.join(refusals)} cannot be written (KERAS_HOME can name another folder)"
        raise self._not_downloaded(reason, self.address(), keras_folder())

    def _not_downloaded(self, reason: str, url: str, folder: Path) -> WeightsError:
        return WeightsError(
            f"{self.what} are not here and could not be downloaded because {reason}; to try again "
            f"run `{self.command}`, or put the file {self.name} from {url} into the folder "
            f"{folder}."
        )

    def _cached(self, path: Path) -> CachedFile:
        try:
            size = path.stat().st_size
            with path.open("rb"):
                pass
        except FileNotFoundError:
            return CachedFile(path, None, "not here")
        except OSError as error:
            return CachedFile(path, None, f"cannot be read ({error.strerror})")
        if self.size not in (None, size):
            return CachedFile(path, size, f"damaged: it should have {self.size:,} bytes")
        return CachedFile(path, size, "" if self._is_right(path) else f"damaged: {self._no_hash}")

    @property
    def _no_hash(self) -> str:
        return f"its hash is not {self.hash}" if self.hash else "it is no file of HDF5"

    def _is_right(self, path: Path) -> bool:
        if self.hash:
            return file_digest(path, self.hash.partition(":")[0]) == self.hash
        with path.open("rb") as file:
            return file.read(len(HDF5)) == HDF5


def file_digest(path: Path, algorithm: str) -> str:
    """Return ``"algorithm:hex"`` of a file, or nothing where it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
        return f"{algorithm}:{digest.hexdigest()}"
    return ""


def _forget_frames(error: BaseException | None) -> None:
    """Empty the finished frames of an error and of those that it came from.

    urllib3's errors hold themselves, and by their callers' frames 80 MB of weights, until Python
    collects garbage.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _why_not(error: Exception) -> str:
    """Say why nothing came."""
    from requests import exceptions as http

    reasons = {
        http.HTTPError: f"the server answered {str(error).partition(' for url')[0]}",
        http.SSLError: "no secure connection could be made (a network's sign-in page?)",
        http.Timeout: "the server did not answer in time",
        http.ChunkedEncodingError: "the connection broke half-way",
        http.ConnectionError: "there is no connection to the server",
        http.RequestException: f"the server cannot be used ({type(error).__name__})",
        OSError: f"the file could not be written ({error})",
        ValueError: "the file that came is not the right one (its hash differs), "
        "but perhaps a web page such as a network's sign-in",
    }
    return next(words for kind, words in reasons.items() if isinstance(error, kind))
