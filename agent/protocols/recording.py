"""Recorded files: Nasdaq BinaryFILE of ITCH 5.0, Binance JSON lines, CSV ticks; plain or gzip.

open_recording() tells the format by the content and gives the file as chunks of whole records, for a loop
that walks them without the GIL (binaryfile.next_record, lines.next_line). Memory does not grow with the
file. What cannot be read is skipped and counted by reason, in bytes; a chunk is never the worse for it.

Sources: Nasdaq "BinaryFILE" 1.00; RFC 1952 (gzip); the CSV format is in csvtick.pxd.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from agent.errors import AgentError
from agent.protocols import _codecs

#: Bytes of a chunk, unless chunks() is told another size.
CHUNK = 1 << 20
#: The longest line; longer ones are skipped.
LONGEST_LINE = 1 << 20
CSV_HEADERS = (
    b"timestamp_ns,symbol,bid,bid_size,ask,ask_size",
    b"timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size",
)

_BLOCK = 1 << 16
_HEAD = 1 << 16
_RUN = 256  # more than resync() looks at from a place on
_NOTES = 20


class RecordingError(AgentError):
    """A file is no recording, or cannot be read; the message names the file and the place in it."""


class Recording:
    """An open recording; a context manager. It can be read once.

    path; format: "binaryfile", "binance" or "csv"; compressed: bool.
    skipped: bytes that no chunk holds, by reason. notes: the first of them as text, with the place: an
    offset in the (uncompressed) content. Both are complete when chunks() has ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format = ""
        self.compressed = False
        self.skipped: dict[str, int] = {}
        self.notes: list[str] = []
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from None
        try:
            self._damaged = False
            self.compressed = self._file.read(2) == b"\x1f\x8b"
            self._file.seek(0)
            self._blocks = self._unzipped() if self.compressed else self._plain()
            self._buffer = bytearray()
            self._offset = 0  # of the buffer in the content
            self._final = False
            self._fill(_HEAD)
            self.format = self._detect()
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

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks()

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The content in chunks of about `size` bytes: whole BinaryFILE records, or whole lines (of a CSV file
        without the header). Raises RecordingError when the file cannot be read on."""
        chunks = self._records(size) if self.format == "binaryfile" else self._lines(size)
        try:
            yield from chunks
        except OSError as error:
            raise RecordingError(f"{self.path}: byte {self._offset}: {error.strerror}") from None

    # The file, unzipped

    def _plain(self) -> Iterator[bytes]:
        while block := self._file.read(_BLOCK):
            yield block

    def _unzipped(self) -> Iterator[bytes]:
        """Blocks of bounded size, up to the first damage: what follows it in the file is counted as skipped."""
        place, member, begun = 0, zlib.decompressobj(31), False
        block = b""
        while True:
            if not block:
                block = self._file.read(_BLOCK)
                if not block:
                    if begun:
                        yield from self._last(member, place)
                    return
            # What a failing call has unzipped is lost: a copy unzips the same block again, byte by byte.
            before = member.copy()
            try:
                out = member.decompress(block, 4 * _BLOCK)
            except zlib.error:
                yield from self._salvage(before, block, place)
                return
            rest = member.unused_data if member.eof else member.unconsumed_tail
            begun = True
            place += len(block) - len(rest)
            if out:
                yield out
            if not member.eof:
                block = rest
                continue
            # Another member may follow, or padding.
            begun, member = False, zlib.decompressobj(31)
            while not (block := rest.lstrip(b"\0")):
                place += len(rest)
                rest = self._file.read(_BLOCK)
                if not rest:
                    return
            place += len(rest) - len(block)
            if block[:1] != b"\x1f":
                self._gzip_ends("data after the gzip stream", place, len(block) + self._file_rest())
                return

    def _salvage(self, member: "zlib._Decompress", block: bytes, place: int) -> Iterator[bytes]:
        for i in range(len(block)):
            try:
                out = member.decompress(block[i : i + 1])
            except zlib.error:
                self._gzip_ends("damaged gzip", place + i, len(block) - i + self._file_rest())
                return
            if out:
                yield out
        self._gzip_ends("damaged gzip", place + len(block), self._file_rest())

    def _last(self, member: "zlib._Decompress", place: int) -> Iterator[bytes]:
        """What a member still holds when the file ends in it."""
        try:
            out = member.flush()
        except zlib.error:
            out = b""
        if out:
            yield out
        if not member.eof:
            self._gzip_ends("truncated gzip", place, 0)

    def _gzip_ends(self, reason: str, place: int, size: int) -> None:
        self._damaged = reason != "data after the gzip stream"
        self.skipped[reason] = self.skipped.get(reason, 0) + size
        self._note(f"{self.path}: byte {place} of the gzip file: {reason}, {size} bytes skipped")

    def _file_rest(self) -> int:
        place = self._file.tell()
        return self._file.seek(0, 2) - place

    # The content

    def _fill(self, size: int) -> None:
        """At least `size` bytes (and one) in the buffer, or all that is left; then _final."""
        while len(self._buffer) < max(size, 1) and not self._final:
            block = next(self._blocks, None)
            if block is None:
                self._final = True
            else:
                self._buffer += block

    def _take(self, size: int) -> bytes:
        chunk = bytes(memoryview(self._buffer)[:size])
        self._drop(size)
        return chunk

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size

    def _skipped(self, begin: int, size: int, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + size
        self._note(f"{self.path}: byte {begin}: {reason}, {size} bytes skipped")

    def _note(self, text: str) -> None:
        if len(self.notes) < _NOTES:
            self.notes.append(text)

    def _detect(self) -> str:
        head = bytes(self._buffer)
        if not head:
            why = "; ".join(self.notes)
            raise RecordingError(
                f"{self.path}: byte 0: found nothing{f' ({why})' if why else ''}, expected a recording"
            )
        line = head.lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\r")
        if line in CSV_HEADERS:
            return "csv"
        stamp, space, message = line.partition(b" ")
        if stamp.isdigit() and space and message.startswith(b"{"):
            return "binance"
        messages, rest = _codecs.binaryfile_messages(head)
        if messages[:1] == [b""] and not messages[1:] and not rest:
            return "binaryfile"  # nothing but the mark of the session's end
        good = sum(len(m) > 0 and _codecs.itch_length(m[0]) == len(m) for m in messages[:8])
        if good and 2 * good > len(messages[:8]):
            return "binaryfile"
        raise RecordingError(
            f"{self.path}: byte 0: found {head[:24]!r}, expected ITCH 5.0 messages behind their lengths (2 bytes), "
            f"lines of NANOSECONDS JSON, or the CSV header {CSV_HEADERS[0].decode()}[,price,size]"
        )

    def _records(self, size: int) -> Iterator[bytes]:
        while True:
            self._fill(size)
            if not self._buffer:
                return
            stop, verdict = self._whole(size)
            if stop:
                yield self._take(stop)
            if verdict == "lost":
                self._resync()
            elif verdict == "cut":
                self._skipped(self._offset, len(self._buffer), "truncated record")
                self._drop(len(self._buffer))
            elif verdict == "session end":
                self._drop(2)

    def _whole(self, window: int) -> tuple[int, str]:
        """Whole records in the buffer's first `window` bytes, or in more, where the first one needs more."""
        while True:
            window = min(window, len(self._buffer))
            final = self._final and window == len(self._buffer)
            with memoryview(self._buffer)[:window] as view:
                stop, verdict = _codecs.binaryfile_whole(view, 0, final)
            if stop or verdict != "more":
                return stop, verdict
            window += _BLOCK
            self._fill(window)

    def _resync(self) -> None:
        """To where records fit again; that may be far behind the buffer."""
        skipped, begin = 0, self._offset
        while True:
            self._fill(_BLOCK)
            place = _codecs.binaryfile_resync(self._buffer, 0, self._final) if self._buffer else 0
            skipped += place
            self._drop(place)
            # Nearer to the end of the buffer than the longest run, the place is only a possible one.
            if self._final or len(self._buffer) > _RUN:
                break
        self._skipped(begin, skipped, "no ITCH record")

    def _lines(self, size: int) -> Iterator[bytes]:
        if self.format == "csv":
            while bytes(self._buffer[:1]) in (b"\r", b"\n"):
                self._drop(1)
            self._drop(self._buffer.find(b"\n") + 1 or len(self._buffer))
        size = min(size, LONGEST_LINE)
        while True:
            self._fill(size)
            if not self._buffer:
                return
            end = self._buffer.rfind(b"\n", 0, size) + 1
            if not end:
                self._fill(LONGEST_LINE)
                end = self._buffer.find(b"\n", 0, LONGEST_LINE) + 1
            if end:
                yield self._take(end)
            elif len(self._buffer) >= LONGEST_LINE:
                self._long_line()
            elif self._damaged:
                # It may lack anything from its end, digits of a number too.
                self._skipped(self._offset, len(self._buffer), "truncated line")
                self._drop(len(self._buffer))
            else:
                yield self._take(len(self._buffer))

    def _long_line(self) -> None:
        skipped, begin, end = 0, self._offset, 0
        while self._buffer and not end:
            end = self._buffer.find(b"\n") + 1
            size = end or len(self._buffer)
            skipped += size
            self._drop(size)
            self._fill(_BLOCK)
        self._skipped(begin, skipped, "line too long")


def open_recording(path: Path) -> Recording:
    """The recording in a file; its format is told by its content, not its name.

    Raises RecordingError when the file cannot be read, is empty, or is none of the formats.
    """
    return Recording(path)
