#!/usr/bin/env python3
"""A session of `tsumugi chat` in a terminal as an animated SVG: docs/images/chat-terminal.svg.

    tools/recording/record.py [--model MODEL] [--binary target/release/tsumugi] [--out FILE.svg]

Types the messages below into the real program, which runs in a pseudo-terminal, and keeps what it prints and when. From these
the picture is drawn: one group for each state of the screen, shown by CSS while it lasted. Long waits are cut. The answers
depend on the model, the seed and the processor's instruction set alone; the pace is this machine's. Nothing is installed.
"""

import argparse
import fcntl
import html
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS, ROWS = 96, 16
MESSAGES = ["Name three primary colours.", "And the capital of Japan?"]
COMMAND_SHOWN = "tsumugi chat smollm2-135m"
KEY_SECONDS = 0.045  # between two keys that are typed
FRAME_SECONDS = 0.08  # shorter changes are one
WAIT_SECONDS_MAX = 1.2  # longer waits are cut to this
COMMAND_SECONDS = 0.8  # the command alone, before the program prints
END_SECONDS = 4.0  # the last state, before it begins anew
QUIET_SECONDS = 1.5  # without output: it waits for the next message
PATIENCE_SECONDS = 120.0
CHARACTER_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 18, 14

CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b[=>]")


class Screen:
    """What a terminal of the program's kind of output shows: text, line feeds, carriage returns, colours, erasing."""

    def __init__(self):
        self.rows, self.column, self.style = [[]], 0, ""

    def write(self, text):
        at = 0
        while at < len(text):
            control = CONTROL.match(text, at)
            if control:
                self.control(control.group(1) or "", control.group(2) or "")
                at = control.end()
                continue
            self.put(text[at])
            at += 1

    def put(self, character):
        if character == "\n":
            self.rows.append([])
            self.column = 0
        elif character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character >= " ":
            if self.column == COLUMNS:
                self.rows.append([])
                self.column = 0
            row = self.rows[-1]
            row.extend([(" ", "")] * (self.column + 1 - len(row)))
            row[self.column] = (character, self.style)
            self.column += 1

    def control(self, numbers, letter):
        row = self.rows[-1]
        if letter == "m":
            codes = [int(code) for code in numbers.split(";") if code.isdigit()] or [0]
            names = {0: "", 1: "bold", 2: "dim", 32: "green", 33: "yellow", 34: "blue", 35: "blue", 36: "cyan"}
            self.style = names.get(codes[-1], self.style)
        elif letter == "K":
            del row[0 if numbers == "2" else self.column :]
        elif letter == "D":
            self.column = max(0, self.column - int(numbers or 1))
        elif letter == "G":
            self.column = int(numbers or 1) - 1
        elif letter == "A":
            sys.exit("the program moves up: this screen cannot")

    def lines(self):
        return [list(row) for row in self.rows[-ROWS:]]


def play(command, environment):
    """(seconds, text) of everything that the program prints, the echo of what is typed included."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    program = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True)
    os.close(terminal)
    begun, printed = time.monotonic(), []

    def read(seconds):
        """Whether something came within so many seconds; None when the program has ended."""
        if not select.select([controller], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(controller, 65536)
        except OSError:
            return None
        printed.append((time.monotonic() - begun, piece))
        return bool(piece) or None

    def until_quiet():
        deadline, before = time.monotonic() + PATIENCE_SECONDS, len(printed)
        while time.monotonic() < deadline:
            came = read(QUIET_SECONDS)
            if came is None or (came is False and len(printed) > before):
                return
        sys.exit(f"{command[0]} printed nothing for {PATIENCE_SECONDS:.0f} seconds")

    until_quiet()
    for message in MESSAGES:
        for character in message:
            os.write(controller, character.encode())
            deadline = time.monotonic() + KEY_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                read(left)
        os.write(controller, b"\n")
        until_quiet()
    os.write(controller, b"\x04")
    while read(5) is not None:
        pass
    if program.wait(30) != 0:
        sys.exit(f"{command[0]} ended with {program.returncode}")
    return printed


def frames(printed):
    """(seconds, lines) of each state of the screen; seconds from the beginning of the picture."""
    screen = Screen()
    screen.write(f"$ {COMMAND_SHOWN}\n")
    states, shown, last, decoded = [(0.0, screen.lines())], COMMAND_SECONDS, 0.0, b""
    for seconds, piece in printed:
        shown += min(seconds - last, WAIT_SECONDS_MAX)
        last, decoded = seconds, decoded + piece
        try:
            text, decoded = decoded.decode(), b""
        except UnicodeDecodeError:
            continue  # the rest of a character is on its way
        screen.write(text)
        if shown - states[-1][0] < FRAME_SECONDS:
            states[-1] = (states[-1][0], screen.lines())
        elif screen.lines() != states[-1][1]:
            states.append((shown, screen.lines()))
    return states, shown + END_SECONDS


def runs(line):
    """(column, text, style) of each stretch of one style."""
    found = []
    for column, (character, style) in enumerate(line):
        if found and found[-1][2] == style and found[-1][0] + len(found[-1][1]) == column:
            found[-1][1] += character
        else:
            found.append([column, character, style])
    return [(column, text, style) for column, text, style in found if text.strip()]


def svg(states, total):
    """Each different line of the screen is drawn once for each stretch of time in which it stood at one place."""
    spans, open_lines = [], {}
    for seconds, lines in [*states, (total, [])]:
        now = {row: tuple(line) for row, line in enumerate(lines) if any(character != " " for character, _ in line)}
        for row, (line, begun) in list(open_lines.items()):
            if now.get(row) != line:
                spans.append((begun, seconds, row, line))
                del open_lines[row]
        for row, line in now.items():
            open_lines.setdefault(row, (line, seconds))
    width, height = COLUMNS * CHARACTER_WIDTH + 2 * MARGIN, ROWS * LINE_HEIGHT + 2 * MARGIN
    rules, groups = [], []
    percent = lambda seconds: f"{100 * seconds / total:.3f}%"
    for number, (begun, ended, row, line) in enumerate(spans):
        stays = ended >= total
        steps = f"{percent(begun)}{{opacity:1}}" + ("" if stays else f"{percent(ended)}{{opacity:0}}")
        rules.append(f"@keyframes f{number}{{{steps}}}#f{number}{{animation-name:f{number}}}")
        y = MARGIN + (row + 1) * LINE_HEIGHT - 5
        texts = "".join(
            f'<tspan x="{MARGIN + column * CHARACTER_WIDTH:.1f}"' + (f' class="{style}"' if style else "")
            + f">{html.escape(text.rstrip(), quote=False)}</tspan>"
            for column, text, style in runs(list(line))
        )  # fmt: skip
        groups.append(f'<text id="f{number}" y="{y}">{texts}</text>')
    style = (
        f"text{{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d8dee9;white-space:pre;opacity:0;"
        f"animation:{total:.2f}s step-end infinite}}.bold{{font-weight:bold}}.dim{{fill:#7b8494}}.green{{fill:#a3be8c}}"
        ".yellow{fill:#ebcb8b}.blue{fill:#81a1c1}.cyan{fill:#88c0d0}"
        # Who wants nothing to move sees the end.
        "@media(prefers-reduced-motion:reduce){text{animation:none}.last{opacity:1}}"
    )
    groups = [
        group.replace("<text ", '<text class="last" ', 1) if spans[number][1] >= total else group
        for number, group in enumerate(groups)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        f'role="img" aria-label="A terminal: {html.escape(COMMAND_SHOWN)}">\n<style>{style}\n' + "\n".join(rules)
        + f'</style>\n<rect width="100%" height="100%" rx="8" fill="#2e3440"/>\n' + "\n".join(groups) + "\n</svg>\n"
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="as `tsumugi pull` names it, or a path")
    parser.add_argument("--binary", default=str(ROOT / "target/release/tsumugi"))
    parser.add_argument("--out", default=str(ROOT / "docs/images/chat-terminal.svg"))
    asked = parser.parse_args()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    environment.pop("NO_COLOR", None)
    command = [asked.binary, "chat", asked.model, "--temperature", "0"]
    states, total = frames(play(command, environment))
    picture = svg(states, total)
    pathlib.Path(asked.out).write_text(picture)
    print(f"{asked.out}: {len(states)} states, {total:.0f} seconds, {len(picture) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
