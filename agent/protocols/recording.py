"""Recordings: files of a feed's messages in one of the feed formats (formats.pxd), plain or gzip.

open_recording() tells the format by the content and gives the file as chunks of whole records or lines, for a loop
that walks them without the GIL (binaryfile.next_record, text.next_line). Memory does not grow with the file. What
cannot be read is skipped and counted by reason, in bytes; no chunk holds a part of it. A gzip member has its checksum
at its end: what was unzipped of a member whose end is not there, or does not fit, is given all the same, and is
suspect. A recording may be anybody's: only a regular file is opened, and a gzip file that expands beyond all recordings
is refused.

Sources: Nasdaq "BinaryFILE" 1.00; RFC 1952 (gzip).
"""

import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from agent.errors import AgentError
from agent.protocols import _codecs, formats
from hosttune import files

#: Bytes of a chunk, unless chunks() is given another size.
CHUNK = 1 << 20
#: Bytes of the longest line; longer ones are skipped.
LONGEST_LINE = 1 << 20

_BLOCK = 1 << 16  # bytes that are read, or unzipped, at a time
_HEAD = 1 << 16  # bytes that the format is told by
_RUN = 256  # bytes; more than binaryfile.find_records() looks at from a place on
_NOTES = 20  # of a recording, at most
_EXAMPLE = 48  # bytes of what was skipped that are kept
#: A gzip file may hold so many bytes, or so many times its size, so that a small file does not take long. Recordings
#: expand 4 to 15 times.
_EXPANSION, _EXPANDED = 20, 3 << 26


class RecordingError(AgentError):
    """A file is no recording, or cannot be read; the message names the file and the place in it."""


class EmptyRecordingError(RecordingError):
    """A file has no content, or it cannot be unzipped."""


class Skip(msgspec.Struct):
    """Bytes that no chunk holds, for one reason: how many, at how many places, and the first of these: its offset, of
    the content or (of_file) of the gzip file, and its first bytes where they are known."""

    reason: str
    byte: int
    of_file: bool
    example: bytes = b""
    bytes: int = 0
    places: int = 0


class Recording:
    """An open recording; a context manager. It can be read once.

    path; size: bytes of the file; format: the feed format of its messages; compressed: whether it is a gzip file.
    skips: what no chunk holds, by reason. notes: the first places as text: an offset in the (uncompressed) content.
    suspect: begin and end, in bytes of the content, of what chunks held although the checksum of its gzip member failed
    or is missing; None: there is no such part. The three are complete when chunks() has ended.
    offset, lines_before: of the chunk given last, where it begins in the content, and the lines of the file before it
    that no chunk held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compressed = False
        self.skips: dict[str, Skip] = {}
        self.notes: list[str] = []
        self.offset = self.lines_before = 0
        self._file, self.size = _open_regular(path)
        try:
            self._damaged = False
            self._complete = False  # all of the damaged member was unzipped, and its checksum does not fit
            self._unzipped = self._checked = 0  # bytes of the content; of members whose checksum held
            self.compressed = self._file.read(2) == b"\x1f\x8b"
            self._file.seek(0)
            self._blocks = self._unzip_blocks() if self.compressed else self._read_blocks()
            self._buffer = bytearray()
            self._offset = 0  # of the buffer in the content
            self._final = False
            self._fill_buffer(_HEAD)
            self.format: formats.Format = self._detect_format()
        except OSError as error:
            self._file.close()
            raise RecordingError(f"{path}: {error.strerror}") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def skipped(self) -> dict[str, int]:
        """Bytes that no chunk holds, by reason."""
        return {skip.reason: skip.bytes for skip in self.skips.values()}

    @property
    def suspect(self) -> tuple[int, int] | None:
        damaged = self._damaged and self._unzipped > self._checked
        return (self._checked, self._unzipped) if damaged else None

    @property
    def place(self) -> int:
        """How many bytes of the file were read so far."""
        return 0 if self._file.closed else self._file.tell()

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks()

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yields the content in chunks of about `size` bytes: whole BinaryFILE records, or whole lines (without the
        header, where the format has one). Raises RecordingError when the file cannot be read on."""
        chunks = self._record_chunks(size) if self.format.framing == "binaryfile" else self._line_chunks(size)
        try:
            yield from chunks
        except OSError as error:
            raise RecordingError(f"{self.path}: byte {self._offset}: {error.strerror}") from None

    # The file, unzipped

    def _read_blocks(self) -> Iterator[bytes]:
        while block := self._file.read(_BLOCK):
            yield block

    def _unzip_blocks(self) -> Iterator[bytes]:
        """Yields blocks of bounded size, up to the first damage: what follows it in the file is counted as skipped."""
        place, member, begun = 0, zlib.decompressobj(31), False
        left = max(_EXPANDED, _EXPANSION * self.size)
        block = b""
        while True:
            if not block:
                block = self._file.read(_BLOCK)
                if not block:
                    if begun:
                        yield from self._flush_member(member, place)
                    return
            # What a failing call has unzipped is lost: a copy unzips the same block again, byte by byte.
            before = member.copy() if begun else None
            try:
                out = member.decompress(block, 4 * _BLOCK)
            except zlib.error as error:
                self._complete = "incorrect data check" in str(error) or "incorrect length check" in str(error)
                yield from self._unzip_bytewise(before or zlib.decompressobj(31), block, place)
                return
            rest = member.unused_data if member.eof else member.unconsumed_tail
            begun = True
            place += len(block) - len(rest)
            if out:
                left -= len(out)
                if left < 0:
                    raise RecordingError(
                        f"{self.path}: byte {place} of the gzip file: found content of more than {_EXPANSION} times "
                        "the file's size; gunzip the file first if that is right"
                    )
                self._unzipped += len(out)
                yield out
            if not member.eof:
                block = rest
                continue
            # Another member may follow, or padding.
            self._checked = self._unzipped
            begun, member = False, zlib.decompressobj(31)
            while not (block := rest.lstrip(b"\0")):
                place += len(rest)
                rest = self._file.read(_BLOCK)
                if not rest:
                    return
            place += len(rest) - len(block)
            if block[:1] != b"\x1f":
                self._report_gzip_end("data after the gzip stream", place, len(block) + self._count_file_rest())
                return

    def _unzip_bytewise(self, member: "zlib._Decompress", block: bytes, place: int) -> Iterator[bytes]:
        for i in range(len(block)):
            try:
                out = member.decompress(block[i : i + 1])
            except zlib.error:
                self._report_gzip_end("damaged gzip", place + i, len(block) - i + self._count_file_rest())
                return
            if out:
                self._unzipped += len(out)
                yield out
        self._report_gzip_end("damaged gzip", place + len(block), self._count_file_rest())

    def _flush_member(self, member: "zlib._Decompress", place: int) -> Iterator[bytes]:
        """Yields what a gzip member still holds when the file ends in it."""
        try:
            out = member.flush()
        except zlib.error:
            out = b""
        if out:
            self._unzipped += len(out)
            yield out
        if not member.eof:
            self._report_gzip_end("truncated gzip", place, 0)

    def _report_gzip_end(self, reason: str, place: int, size: int) -> None:
        self._damaged = reason != "data after the gzip stream"
        self._count_skip(Skip(reason, place, True), size, f"byte {place} of the gzip file")

    def _count_file_rest(self) -> int:
        place = self._file.tell()
        return self._file.seek(0, 2) - place

    # The content

    def _fill_buffer(self, size: int) -> None:
        """Read until the buffer holds `size` bytes (and one at least), or all that is left; then _final is set."""
        while len(self._buffer) < max(size, 1) and not self._final:
            block = next(self._blocks, None)
            if block is None:
                self._final = True
            else:
                self._buffer += block

    def _take_chunk(self, size: int) -> bytes:
        chunk = bytes(memoryview(self._buffer)[:size])
        self.offset = self._offset
        self._drop_bytes(size)
        return chunk

    def _drop_bytes(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size

    def _count_skipped(self, begin: int, size: int, reason: str, example: bytes) -> None:
        self._count_skip(Skip(reason, begin, False, example), size, f"byte {begin}")

    def _count_skip(self, here: Skip, size: int, place: str) -> None:
        skip = self.skips.setdefault(here.reason, here)
        skip.bytes += size
        skip.places += 1
        if len(self.notes) < _NOTES:
            self.notes.append(f"{self.path}: {place}: {here.reason}, {size} bytes skipped")

    def _begin_of_buffer(self) -> bytes:
        return bytes(memoryview(self._buffer)[:_EXAMPLE])

    def _detect_format(self) -> formats.Format:
        head = bytes(self._buffer)
        if not head:
            why = "; ".join(self.notes)
            raise EmptyRecordingError(
                f"{self.path}: byte 0: found nothing{f' ({why})' if why else ''}, expected a recording"
            )
        found = formats.detect(head)
        if found is None:
            *others, last = (row.expected for row in formats.FORMATS)
            raise RecordingError(f"{self.path}: byte 0: found {head[:24]!r}, expected {', '.join(others)}, or {last}")
        return found

    def _record_chunks(self, size: int) -> Iterator[bytes]:
        while True:
            self._fill_buffer(size)
            if not self._buffer:
                return
            stop, verdict = self._find_whole_records(size)
            if stop:
                yield self._take_chunk(stop)
            if verdict == "lost":
                self._skip_to_record()
            elif verdict == "cut":
                self._count_skipped(self._offset, len(self._buffer), "truncated record", self._begin_of_buffer())
                self._drop_bytes(len(self._buffer))
            elif verdict == "session end":
                self._drop_bytes(2)

    def _find_whole_records(self, window: int) -> tuple[int, str]:
        """Find whole records in the buffer's first `window` bytes, or in more, where the first one needs more.

        Returns their size in bytes, and what is behind them (_codecs.binaryfile_skip_records)."""
        while True:
            window = min(window, len(self._buffer))
            final = self._final and window == len(self._buffer)
            with memoryview(self._buffer)[:window] as view:
                stop, verdict = _codecs.binaryfile_skip_records(view, 0, final)
            if stop or verdict != "more":
                return stop, verdict
            window += _BLOCK
            self._fill_buffer(window)

    def _skip_to_record(self) -> None:
        """Drop bytes up to where records fit again, which may be far behind the buffer."""
        skipped, begin, example = 0, self._offset, self._begin_of_buffer()
        while True:
            self._fill_buffer(_BLOCK)
            place = _codecs.binaryfile_find_records(self._buffer, 0, self._final) if self._buffer else 0
            skipped += place
            self._drop_bytes(place)
            # Nearer to the end of the buffer than the longest run, the place is only a possible one.
            if self._final or len(self._buffer) > _RUN:
                break
        self._count_skipped(begin, skipped, "no ITCH record", example)

    def _line_chunks(self, size: int) -> Iterator[bytes]:
        if self.format.header:
            blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
            head = self._buffer.find(b"\n", blank) + 1 or len(self._buffer)
            self.lines_before = self._buffer.count(b"\n", 0, head)
            self._drop_bytes(head)
        size = min(size, LONGEST_LINE)
        while True:
            self._fill_buffer(size)
            if not self._buffer:
                return
            end = self._buffer.rfind(b"\n", 0, size) + 1
            if not end:
                self._fill_buffer(LONGEST_LINE)
                end = self._buffer.find(b"\n", 0, LONGEST_LINE) + 1
            if end:
                yield self._take_chunk(end)
            elif len(self._buffer) >= LONGEST_LINE:
                self._skip_long_line()
            elif self._damaged and not self._complete:
                # It may lack anything from its end, digits of a number too.
                self._count_skipped(self._offset, len(self._buffer), "truncated line", self._begin_of_buffer())
                self._drop_bytes(len(self._buffer))
            else:
                yield self._take_chunk(len(self._buffer))

    def _skip_long_line(self) -> None:
        skipped, begin, end, example = 0, self._offset, 0, self._begin_of_buffer()
        self.lines_before += 1
        while self._buffer and not end:
            end = self._buffer.find(b"\n") + 1
            size = end or len(self._buffer)
            skipped += size
            self._drop_bytes(size)
            self._fill_buffer(_BLOCK)
        self._count_skipped(begin, skipped, "line too long", example)


def _open_regular(path: Path) -> tuple[BinaryIO, int]:
    """Returns an open file and its size. Nothing is waited for: not the other end of a FIFO, nor a device.

    Raises RecordingError for what is no regular file.
    """
    try:
        file = os.fdopen(files.open_given(path), "rb")
        return file, os.fstat(file.fileno()).st_size
    except IsADirectoryError:
        raise RecordingError(f"{path}: {os.strerror(errno.EISDIR)}, allowed: a regular file") from None
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the path
        raise RecordingError(f"{str(path)!r}: {error}") from None


def open_recording(path: Path) -> Recording:
    """Open a recording; its format is told by its content, not its name.

    Raises RecordingError when the file cannot be read, is empty, or is none of the formats.
    """
    return Recording(path)
