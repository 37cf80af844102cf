"""Compresses JSON texts with zstd and a dictionary. No I/O. https://github.com/indygreg/python-zstandard

Contents of a watch resemble each other, so a dictionary trained on some of them halves the size of the others. A packed
text is a standard zstd frame that contains the number of its dictionary (RFC 8878, 3.1.1.1.3), or, if compressing does
not pay, the text itself. States written before schema 0008 contain zlib streams as well.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence

import zstandard
from zstandard import ZstdCompressionDict, ZstdCompressor, ZstdDecompressor

_LEVEL = 1
_ZSTD, _ZLIB = 0x28, 0x78  # the first bytes of a zstd frame and of a zlib stream; JSON text begins with neither
_WORTH_PACKING = {False: 256, True: 48}
"""The length from which a text is compressed, without and with a dictionary."""
_SIZE = 16 << 10
_SEGMENT, _DMER = 200, 8  # train in a quarter of the time that a search for these parameters takes, no worse
_SAMPLE = 8 << 10
_MIN_SAMPLES = 200
_LEAST_GAIN = 0.9


class Damaged(ValueError):
    """A packed text cannot be read."""


class ZstdPacker:
    """Compresses and reads texts, with a dictionary if there is one. Thread-safe.

    ``number`` is that by which packed texts name the dictionary ``raw``; 0 for none. Raises ``Damaged`` if ``raw`` is
    another dictionary or none.
    """

    def __init__(self, number: int = 0, raw: bytes = b"") -> None:
        self.raw = raw
        self._worth = _WORTH_PACKING[bool(number)]
        # Each of them can do one thing at a time, and gives other threads a turn while it does.
        self._packing, self._unpacking = threading.Lock(), threading.Lock()
        dictionary = _opened(number, raw) if number else None
        self._compressor = ZstdCompressor(level=_LEVEL, dict_data=dictionary)
        self._decompressor = ZstdDecompressor(dict_data=dictionary)

    def pack_all(self, texts: Sequence[bytes]) -> list[bytes]:
        """Each text, compressed if it is long enough. Other threads get one turn meanwhile, not one for each text."""
        long: list[bytes | bytearray | memoryview[int]] = [raw for raw in texts if len(raw) >= self._worth]
        if not long:
            return [*texts]
        with self._packing:
            packed = iter(self._compressor.multi_compress_to_buffer(long))
        short = (next(packed).tobytes() if len(raw) >= self._worth else raw for raw in texts)
        return [one if len(one) < len(raw) else raw for raw, one in zip(texts, short, strict=True)]

    def unpack(self, raw: bytes) -> bytes:
        """The text that was packed with this dictionary. Raises ``Damaged``."""
        try:
            if raw[0] == _ZSTD:
                with self._unpacking:
                    return self._decompressor.decompress(raw)
            return zlib.decompress(raw) if raw[0] == _ZLIB else raw
        except (zstandard.ZstdError, zlib.error) as error:
            raise Damaged(str(error)) from error


def _opened(number: int, raw: bytes) -> ZstdCompressionDict:
    try:
        dictionary = ZstdCompressionDict(raw, dict_type=zstandard.DICT_TYPE_FULLDICT)
        dictionary.precompute_compress(level=_LEVEL)
    except zstandard.ZstdError as error:
        raise Damaged(f"dictionary {number} is damaged ({error})") from error
    if dictionary.dict_id() != number:
        raise Damaged(f"dictionary {number} is damaged (it says that it is {dictionary.dict_id()})")
    return dictionary


def dictionary_of(raw: bytes) -> int:
    """The number of the dictionary that a packed text needs; 0 for none. Raises ``Damaged``."""
    if raw[0] != _ZSTD:
        return 0
    try:
        return zstandard.get_frame_parameters(raw).dict_id
    except zstandard.ZstdError as error:
        raise Damaged(str(error)) from error


def trained(number: int, samples: Sequence[bytes], present: ZstdPacker) -> ZstdPacker | None:
    """A packer with a dictionary for texts like ``samples``.

    ``None`` if it would not make them a tenth smaller than the ``present`` packer does: there are too few samples, or
    they have nothing in common.
    """
    texts = [raw[:_SAMPLE] for raw in samples]
    kept: list[bytes | bytearray | memoryview[int]] = [raw for n, raw in enumerate(texts) if n % 8]
    tried = texts[::8]
    if len(texts) < _MIN_SAMPLES:
        return None
    size = min(_SIZE, sum(map(len, kept)) // 8)
    try:
        made = zstandard.train_dictionary(size, kept, k=_SEGMENT, d=_DMER, dict_id=number, level=_LEVEL)
    except zstandard.ZstdError:  # they have nothing in common
        return None
    packer = ZstdPacker(number, made.as_bytes())
    now, then = (sum(map(len, each.pack_all(tried))) for each in (packer, present))
    return packer if now < _LEAST_GAIN * then else None
