"""Real text from Debian's documentation packages: one line per line of text, tags taken out, every paragraph once.

    corpus.py OUT.txt PACKAGE.deb ...
"""

import html
import io
import lzma
import re
import subprocess
import sys
import tarfile

TAG = re.compile(r"<[^<>]*>")
SPACES = re.compile(r"\s+")


def texts(package):
    """The text files of a package, in its order."""
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            name = member.name
            if not member.isfile() or not name.endswith((".html", ".txt", ".rst", ".gz", ".xz", ".htm")):
                continue
            content = archive.extractfile(member).read()
            try:
                if name.endswith(".gz"):
                    import gzip

                    content = gzip.decompress(content)
                elif name.endswith(".xz"):
                    content = lzma.decompress(content)
                yield name, content.decode()
            except (UnicodeDecodeError, OSError):
                continue


def main():
    out, *packages = sys.argv[1:]
    seen = set()
    with open(out, "w", encoding="utf-8") as file:
        for package in packages:
            for name, text in texts(package):
                if "html" in name or name.endswith(".htm"):
                    text = html.unescape(TAG.sub("", re.sub(r"(?s)<(script|style)\b.*?</\1>", "", text)))
                for line in text.splitlines():
                    line = SPACES.sub(" ", line).strip()
                    if len(line) > 2 and hash(line) not in seen:
                        seen.add(hash(line))
                        file.write(line + "\n")


if __name__ == "__main__":
    main()
