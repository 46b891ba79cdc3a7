"""`RemoteFile`: a published file, its cache locations and its download."""

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
"""Environment variable with the URL of a mirror folder that holds these files."""

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
"""Timeouts for the connection, and for each piece of the file."""

HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""

BAR_SECONDS = 0.1
"""Delay before the bar appears, so that a failed download leaves no empty bar."""

failed_downloads: dict[str, str] = {}
"""URL and message of each download that failed for ``"auto"`` in this process, so that a classroom
without internet waits once, not at every cell. Clear it to retry; other downloads always try."""


def keras_folder() -> Path:
    """Return Keras's folder of downloaded models, which is shared with Keras."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    return Path(os.path.expanduser(home)) / "models"  # noqa: PTH111 - Path's own can raise.


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A cache location of a remote file and its state; `problem` is "" for a good copy.

    `size` is in bytes, or None if there is no file.
    """

    path: Path
    size: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file that never changes, cached in Keras's folder.

    Parameters
    ----------
    name : str
        The file's name in the caches.
    base : str
        URL of the folder that it is published in, unless `ADDRESS_VARIABLE` names a mirror.
    hash : str
        ``"md5:hex"``, or another algorithm of hashlib. Empty if none is published; the file must
        then be an HDF5 file.
    size : int or None
        In bytes; None if unknown.
    what : str
        Plural description of the content for messages, such as "the ImageNet weights".
    title : str
        Title of the progress bar.
    command : str
        The terminal command that downloads it.
    served : str
        The file's name on the server, if different.
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
        """Return the file's possible locations: in Keras's folder, then in this package's cache."""
        import pooch

        return keras_folder() / self.name, Path(pooch.os_cache("vgg_widget")) / self.name

    def address(self) -> str:
        """Return the file's URL; raise `WeightsError` for an unusable mirror."""
        base = os.environ.get(ADDRESS_VARIABLE) or self.base
        with suppress(ValueError):  # Malformed URLs are reported below.
            parts = urlsplit(base)
            # The URL appears in messages and saved notebooks, so it must not contain a password.
            if parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc:
                return f"{base.rstrip('/')}/{self.served or self.name}"
        raise WeightsError(
            f"the environment variable {ADDRESS_VARIABLE} is not the http or https address, "
            f"without a user name, of a folder that holds {self.served or self.name}: "
            "correct it or unset it."
        )

    def find(self) -> Path | None:
        """Return the first cached file of the correct size, or None; its hash is not checked."""
        for path in self.locations():
            with suppress(OSError):
                if path.is_file() and self.size in (None, path.stat().st_size):
                    return path
        return None

    def verified(self) -> Path | None:
        """Return the first cached file with the correct hash, or None."""
        cached = map(self._cached, self.locations())
        return next((file.path for file in cached if not file.problem), None)

    def trusted(self) -> Path:
        """Return the file, downloaded if not cached; raise `WeightsError` if it is damaged."""
        path, found = self.verified(), self.find()
        if path is None and found is not None:
            raise WeightsError(
                f"{self.what} cannot be used because the file {found} is damaged "
                f"({self._damage}): run `{self.command}` to replace it."
            )
        return path or self.download()

    def cached(self) -> tuple[CachedFile, ...]:
        """Return the state of each of the `locations`, with size and hash checked."""
        return tuple(self._cached(path) for path in self.locations())

    def download(self, *, progress: bool = True) -> Path:
        """Download the file, unless a good copy is cached.

        The file is replaced only once the download is complete and its hash is correct; after a
        failure the previous file remains.

        Parameters
        ----------
        progress : bool
            Whether to show a progress bar: a widget in a notebook, text in a terminal.

        Returns
        -------
        Path
            The file, in Keras's folder, or in this package's cache if that is not writable.

        Raises
        ------
        WeightsError
            If the download fails; the message contains the URL and the folder.
        """
        import pooch
        from tqdm.auto import tqdm

        if found := self.verified():
            return found
        url, folder = self.address(), self.folder()
        # The notebook's bar needs a total from the start to have a width, and pooch tests the bar's
        # truth value, which is undefined without a total. If the size is unknown, pooch sets it.
        look = {"total": self.size or 1, "unit": "B", "unit_scale": True, "delay": BAR_SECONDS}
        bar = tqdm(desc=self.title, disable=not progress, **look)
        answers: list[Any] = []  # pooch leaves the connection of a failed response open.

        def on_answer(response: Any, **_: object) -> None:
            answers.append(response)
            target = urlsplit(urljoin(response.url, response.headers.get("location") or ""))
            if urlsplit(response.url).scheme == "https" != target.scheme:
                # The full URL may contain a secret.
                where = f"{target.scheme}://{target.hostname or ''}"
                reason = f"the server redirects to {where}, which is not https"
                raise self._not_downloaded(reason, url, folder)

        waits = (CONNECT_SECONDS, READ_SECONDS)
        http = pooch.HTTPDownloader(bar, 1 << 16, timeout=waits, hooks={"response": on_answer})

        def fetch(url: str, target: Any, pup: Any) -> None:
            http(url, target, pup)
            if not self.hash and not self._is_intact(Path(target)):
                raise ValueError(url)

        logger, level = pooch.get_logger(), pooch.get_logger().level
        logger.setLevel(logging.WARNING)
        try:
            with bar:
                path = Path(
                    pooch.retrieve(url, self.hash or None, self.name, folder, downloader=fetch)
                )
        except (OSError, ValueError) as error:  # Errors of requests are OSErrors.
            _clear_frames(error)
            raise self._not_downloaded(_failure_reason(error), url, folder) from error
        finally:
            logger.setLevel(level)
            for response in answers:
                response.close()
        with suppress(OSError):
            path.chmod(0o644)  # Downloads are created as private files, but a cache may be shared.
        failed_downloads.pop(url, None)
        return path

    def download_once(self) -> Path:
        """Download the file, or raise again the error of an earlier attempt in this process."""
        url = self.address()
        if url in failed_downloads:
            raise WeightsError(failed_downloads[url])
        try:
            return self.download()
        except WeightsError as error:
            failed_downloads[url] = str(error)
            raise

    def folder(self) -> Path:
        """Return the folder for a download: the first location that is writable."""
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
            f"{self.what} are not cached and could not be downloaded because {reason}; to try "
            f"again, run `{self.command}`, or put the file {self.name} from {url} into the folder "
            f"{folder}."
        )

    def _cached(self, path: Path) -> CachedFile:
        try:
            size = path.stat().st_size
            with path.open("rb"):
                pass
        except FileNotFoundError:
            return CachedFile(path, None, "not found")
        except OSError as error:
            return CachedFile(path, None, f"cannot be read ({error.strerror})")
        if self.size not in (None, size):
            return CachedFile(path, size, f"damaged: it should have {self.size:,} bytes")
        return CachedFile(path, size, "" if self._is_intact(path) else f"damaged: {self._damage}")

    @property
    def _damage(self) -> str:
        return f"its hash is not {self.hash}" if self.hash else "it is not an HDF5 file"

    def _is_intact(self, path: Path) -> bool:
        if self.hash:
            return file_digest(path, self.hash.partition(":")[0]) == self.hash
        with path.open("rb") as file:
            return file.read(len(HDF5)) == HDF5


def file_digest(path: Path, algorithm: str) -> str:
    """Return ``"algorithm:hex"`` of a file, or "" if it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
        return f"{algorithm}:{digest.hexdigest()}"
    return ""


def _clear_frames(error: BaseException | None) -> None:
    """Clear the local variables in the tracebacks of an error and its contexts.

    urllib3's errors are in reference cycles and would keep their callers' variables, 80 MB of
    weights, until garbage collection.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _failure_reason(error: Exception) -> str:
    """Return the reason for a failed download."""
    from requests import exceptions as http

    reasons = {
        http.HTTPError: f"the server answered {str(error).partition(' for url')[0]}",
        http.SSLError: "no secure connection could be made (a network's sign-in page?)",
        http.Timeout: "the server did not answer in time",
        http.ChunkedEncodingError: "the connection broke half-way",
        http.ConnectionError: "there is no connection to the server",
        http.RequestException: f"the server cannot be used ({type(error).__name__})",
        OSError: f"the file could not be written ({error})",
        ValueError: "the downloaded file is not the expected one (its hash differs), "
        "but perhaps a web page such as a network's sign-in",
    }
    return next(words for kind, words in reasons.items() if isinstance(error, kind))
