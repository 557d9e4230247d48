"""Makes crates/files/fixtures/zip/: archives as Python's zipfile writes them.

Run with Python 3.11; the output is the same each time.
Ours to give away: MIT OR Apache-2.0, like the rest of the repository.

plain.zip     two stored entries, one packed, a comment, a directory
wide.zip      sizes in 64 bits although they are small
streamed.zip  sizes behind the data, as for an output that cannot be rewound
prefixed.zip  bytes before the archive
"""

import io
import pathlib
import zipfile

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/files/fixtures/zip"


class Forward(io.RawIOBase):
    """A file that only goes forward."""

    def __init__(self):
        self.written = b""

    def writable(self):
        return True

    def write(self, data):
        self.written += bytes(data)
        return len(data)


def fill(archive, wide=False):
    for name, content, method in [
        ("folder/a", b"first", zipfile.ZIP_STORED),
        ("folder/b", b"second" * 20, zipfile.ZIP_DEFLATED),
        ("folder/é", b"", zipfile.ZIP_STORED),
    ]:
        about = zipfile.ZipInfo(name)
        about.compress_type = method
        with archive.open(about, "w", force_zip64=wide) as entry:
            entry.write(content)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(OUT / "plain.zip", "w") as archive:
        fill(archive)
        archive.writestr(zipfile.ZipInfo("empty/"), b"")
        archive.comment = b"a comment"
    with zipfile.ZipFile(OUT / "wide.zip", "w") as archive:
        fill(archive, wide=True)
    forward = Forward()
    with zipfile.ZipFile(forward, "w") as archive:
        fill(archive)
    (OUT / "streamed.zip").write_bytes(forward.written)
    plain = (OUT / "plain.zip").read_bytes()
    (OUT / "prefixed.zip").write_bytes(b"#!/bin/sh\n" + plain)


if __name__ == "__main__":
    main()
