"""Images as artifacts. Needs Pillow (``pip install headrace[images]``)."""

from __future__ import annotations

import io
import os
import re
import uuid
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from headrace.client.base import RunOperations, finished
from headrace.client.documents import DocumentCalls
from headrace.client.values import now_ms, whole_number
from headrace.errors import InvalidParameter

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

_KEY = re.compile(r"[a-zA-Z0-9_\-./ ]+")
_PREVIEW_PIXELS = 256
LOGGED_IMAGES_TAG = "mlflow.loggedImages"


class Image:
    """An image to log, from an array, a Pillow image, nested lists, or a file."""

    def __init__(self, image: Any) -> None:
        self._image = as_pillow(image)

    def to_pil(self) -> PIL.Image.Image:
        """As a Pillow image."""
        return self._image

    def to_array(self) -> NDArray[np.uint8]:
        """As an array: height, width, and channels if there are several."""
        import numpy as np

        return np.array(self._image)

    def to_list(self) -> list[Any]:
        """As nested lists of numbers."""
        pixels: list[Any] = self.to_array().tolist()
        return pixels

    def save(self, path: str) -> None:
        """Write it to a file, in the format that the extension names."""
        self._image.save(path)


class ImageCalls(DocumentCalls):
    """Images."""

    def log_image(
        self,
        run_id: str,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
        synchronous: bool | None = None,
    ) -> RunOperations | None:
        """Write an image to a file, or as one of a series that belongs to the run's steps.

        Args:
            run_id: The run.
            image: A numpy array (height × width, or × 1, 3 or 4 channels; integers 0 to 255, floats
                0 to 1, or bools), a Pillow image, or an `Image`.
            artifact_file: File for a single image. Not together with ``key``, ``step``, ``timestamp``.
            key: Name of a series: letters, digits, ``_ - . space /``. Kept in full and as a preview
                of at most 256 pixels, as MLflow's UI expects.
            step: Of the series; default 0.
            timestamp: Milliseconds since the Unix epoch; default now.
            synchronous: As for `log_metric`.

        Raises:
            TypeError: Both or neither of ``artifact_file`` and ``key``.
            InvalidParameter: An array that is no image, or a key with other characters.
        """
        if artifact_file is not None and (key, step, timestamp) != (None, None, None):
            raise TypeError("Give artifact_file alone, or key with step and timestamp, not both.")
        if artifact_file is None and key is None:
            raise TypeError("Give artifact_file for a single image, or key for a series of images.")
        picture = as_pillow(image)
        if artifact_file is not None:
            self._write(run_id, artifact_file, _encoded(picture, artifact_file))
            return finished(synchronous)
        assert key is not None
        if not _KEY.fullmatch(key):
            raise InvalidParameter(
                f"Invalid image key '{key}': use letters, digits, '_', '-', '.', spaces and '/'."
            )
        name = (
            f"images/{key.replace('/', '~')}+step+{whole_number('step', step, 0)}"
            f"+timestamp+{whole_number('timestamp', timestamp, now_ms())}+{uuid.uuid4()}"
        )
        self._write(run_id, f"{name}.png", _encoded(picture, ".png"))
        self._write(run_id, f"{name}+compressed.webp", _encoded(_preview(picture), ".webp"))
        self.set_tag(run_id, LOGGED_IMAGES_TAG, True)
        return finished(synchronous)

    def _log_table_image(self, run_id: str, artifact_file: str, image: Any) -> dict[str, str]:
        """Write an image of a table's cell; what the cell says instead."""
        picture = as_pillow(image)
        table = PurePosixPath(artifact_file).with_suffix("")
        name = f"table_images/{table}/{uuid.uuid4()}"
        self._write(run_id, f"{name}.png", _encoded(picture, ".png"))
        self._write(run_id, f"{name}.webp", _encoded(_preview(picture), ".webp"))
        return {
            "type": "image",
            "filepath": f"{name}.png",
            "compressed_filepath": f"{name}.webp",
        }


def is_image(value: Any) -> bool:
    """Whether a table's cell is an image: an `Image`, or a Pillow one (also of MLflow's kind)."""
    return isinstance(value, Image) or (
        callable(getattr(value, "to_pil", None))
        or any(cls.__module__ == "PIL.Image" for cls in type(value).__mro__)
    )


def as_pillow(image: Any) -> PIL.Image.Image:
    """Anything that `ImageCalls.log_image` takes as a Pillow image.

    Raises:
        InvalidParameter: It is no image.
        ImportError: Pillow is missing; the message says what to install.
    """
    try:
        import PIL.Image
    except ImportError:
        raise ImportError("Logging images needs Pillow: pip install 'headrace[images]'") from None
    if isinstance(image, PIL.Image.Image):
        return image
    if callable(getattr(image, "to_pil", None)):
        picture: PIL.Image.Image = image.to_pil()
        return picture
    if isinstance(image, str | os.PathLike):
        with PIL.Image.open(image) as opened:
            opened.load()
            return opened.copy()
    return PIL.Image.fromarray(_pixels(image))


def _pixels(image: Any) -> NDArray[np.uint8]:
    import numpy as np

    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InvalidParameter(
            f"An array of shape {array.shape} is no image: give height x width, "
            "or height x width x 1, 3 or 4 channels."
        )
    if array.dtype.kind not in "buif":
        raise InvalidParameter(f"An array of {array.dtype} is no image: give integers or floats.")
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    top = 1.0 if array.dtype.kind == "f" else 255
    if array.size and not (array.min() >= 0 and array.max() <= top):
        raise InvalidParameter(
            f"Pixels of {array.dtype} must lie in 0 to {top}, got {array.min()} to {array.max()}."
        )
    return (array * 255 if top == 1.0 else array).astype(np.uint8)


def _preview(image: PIL.Image.Image) -> PIL.Image.Image:
    small = image.copy()
    small.thumbnail((_PREVIEW_PIXELS, _PREVIEW_PIXELS))
    return small


def _encoded(image: PIL.Image.Image, file: str) -> bytes:
    import PIL.Image

    suffix = f".{file.rpartition('.')[2].lower()}"
    format_ = PIL.Image.registered_extensions().get(suffix)
    if format_ is None:
        raise InvalidParameter(f"'{file}' does not name an image format: try .png.")
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()
