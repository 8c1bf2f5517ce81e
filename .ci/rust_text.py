"""Takes Rust source apart into code, comments and strings, for .ci/prose and .ci/measures.

It knows as much of the language as that needs: nested comments, raw strings, character literals
beside lifetimes. The positions of everything else stay: `code` has each comment and each string's
text replaced by spaces, line for line.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

RAW = re.compile(r'(?:br|cr|r)(#*)"')
CHAR = re.compile(r"b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.)|[^\\'\n])'")


def split(source):
    """Returns (code, comments, strings). A comment is (line, text), one per line of the source, and
    a string is (line, text): line numbers count from 1."""
    code, comments, strings = [], [], []
    at, line, end = 0, 1, len(source)

    def blank(text):
        return "".join(c if c == "\n" else " " for c in text)

    def block_end(start):
        depth, at = 0, start
        while at < end:
            if source.startswith("/*", at):
                depth, at = depth + 1, at + 2
            elif source.startswith("*/", at):
                depth, at = depth - 1, at + 2
                if depth == 0:
                    return at
            else:
                at += 1
        return end

    while at < end:
        char = source[at]
        identifier = at > 0 and (source[at - 1].isalnum() or source[at - 1] == "_")
        if source.startswith("//", at):
            stop = source.find("\n", at)
            stop = end if stop < 0 else stop
            comments.append((line, source[at:stop]))
            code.append(" " * (stop - at))
        elif source.startswith("/*", at):
            stop = block_end(at)
            for offset, text in enumerate(source[at:stop].split("\n")):
                comments.append((line + offset, text))
            code.append(blank(source[at:stop]))
        elif char in "brc" and not identifier and (raw := RAW.match(source, at)):
            close = source.find('"' + raw[1], raw.end())
            close = end if close < 0 else close
            strings.append((line, source[raw.end():close]))
            stop = min(close + 1 + len(raw[1]), end)
            code.append(source[at:raw.end()] + blank(source[raw.end():close]) + source[close:stop])
        elif char == '"':
            stop = at + 1
            while stop < end and source[stop] != '"':
                stop += 2 if source[stop] == "\\" else 1
            text = source[at + 1:stop]
            # A line that ends with a backslash goes on without the next line's indentation.
            strings.append((line, re.sub(r"\\\n\s*", "", text)))
            code.append('"' + blank(text) + '"')
            stop = min(stop + 1, end)
        elif char == "'" and (literal := CHAR.match(source, at)):
            stop = literal.end()
            code.append("'" + " " * (stop - at - 2) + "'")
        else:
            stop = at + 1
            code.append(char)
        line += source.count("\n", at, stop)
        at = stop
    return "".join(code), comments, strings


def matching(code, start):
    """Returns the position after the bracket that closes the one at `start`."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    depth = 0
    for at in range(start, len(code)):
        if code[at] in pairs:
            depth += 1
        elif code[at] in ")]}":
            depth -= 1
            if depth == 0:
                return at + 1
    return len(code)


def test_lines(code):
    """Returns the numbers of all lines that belong to `#[cfg(test)]` items."""
    lines = set()
    for found in re.finditer(r"#\[cfg\((?:test|all\(test\b[^\n]*)\)\]", code):
        brace, semicolon = code.find("{", found.end()), code.find(";", found.end())
        if brace < 0 or 0 <= semicolon < brace:
            stop = semicolon + 1
        else:
            stop = matching(code, brace)
        first = code.count("\n", 0, found.start()) + 1
        lines.update(range(first, code.count("\n", 0, stop) + 2))
    return lines


def tracked(root=ROOT):
    """Returns the paths of all files of the repository, also of new ones, relative to its root."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted({name for name in names if (root / name).is_file()})
