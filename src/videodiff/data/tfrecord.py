"""TFRecord files and the ``tf.train.Example`` messages in them, read without tensorflow.

A record is ``length (uint64) | masked CRC-32C of it | bytes | masked CRC-32C of those``, little-endian. An Example is
the protocol buffer ``{1: {1: repeated {1: name, 2: Feature}}}`` with Feature one of bytes (1), float (2), int64 (3)
lists. Lists of bytes and of floats are read here, the latter packed, as they are written.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cache

from videodiff import placeholder

HEADER = struct.Struct("<QI")


@cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def masked_crc(data: bytes) -> int:
    """CRC-32C of some bytes, rotated and shifted as record files have it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def index_records(path: str) -> tuple[list[tuple[int, int]], str | None]:
    """Offset of the header and number of data bytes of every whole record, and what ended the file early, if anything.

    Only headers are read.
    """
    records: list[tuple[int, int]] = []
    if (found := placeholder.explain(path)) is not None:
        return records, found
    end = os.path.getsize(path)
    with open(path, "rb") as file:
        offset = 0
        while offset < end:
            file.seek(offset)
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return records, f"cut off after record {len(records)}"
            length, crc = HEADER.unpack(header)
            if crc != masked_crc(header[:8]):
                return records, f"damaged after record {len(records)}"
            if offset + HEADER.size + length + 4 > end:
                return records, f"cut off after record {len(records)}"
            records.append((offset, length))
            offset += HEADER.size + length + 4
    return records, None


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every length-delimited field; numbers are passed over."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a field longer than its message")
            yield key >> 3, data[at : at + length]
            at += length
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")


def _lists(data: bytes, kind: int) -> Iterator[tuple[str, dict[int, memoryview]]]:
    """Name of every feature that is a list of a kind (1 bytes, 2 floats), and the list's fields; the last of each."""
    for number, inside in _fields(memoryview(data)):
        for _, pair in _fields(inside) if number == 1 else ():
            parts = dict(_fields(pair))
            lists = dict(_fields(parts[2])) if 2 in parts else {}
            if 1 in parts and kind in lists:
                yield bytes(parts[1]).decode("utf-8"), dict(_fields(lists[kind]))


def parse_example(data: bytes, kind: int = 1) -> dict[str, memoryview]:
    """What every feature that is a list of a kind holds, by name: of bytes (1) a value, of floats (2) all of them.

    Raises:
        ValueError: if the bytes are no Example.
    """
    try:
        return {name: values[1] for name, values in _lists(data, kind) if 1 in values}
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no tf.train.Example ({error})") from error


def read_example(path: str, offset: int, kind: int = 1) -> dict[str, memoryview]:
    """The Example of the record whose header starts at `offset`, its lists of a kind as :func:`parse_example` has them.

    Raises:
        ValueError: if there is no whole record.
    """
    with open(path, "rb") as file:
        file.seek(offset)
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            raise ValueError(f"{path}: no record at byte {offset}")
        length, crc = HEADER.unpack(header)
        if crc != masked_crc(header[:8]):
            raise ValueError(f"{path}: the record at byte {offset} is damaged")
        data = file.read(length)
        if len(data) < length:
            raise ValueError(f"{path}: the record at byte {offset} is cut off")
    try:
        return parse_example(data, kind)
    except ValueError as error:
        raise ValueError(f"{path}: the record at byte {offset} is damaged ({error})") from error
