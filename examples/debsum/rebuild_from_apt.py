#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rebuilds debsum from the package lists of Debian 12: train, validation and test.jsonl.gz.

    sudo apt-get update -o Acquire::Languages=en      # the long descriptions stand in Translation-en
    python rebuild_from_apt.py OUTPUT_DIR

On any machine, with lists of its own that leave the system's alone:

    mkdir -p /tmp/lists/partial
    apt-get update -o Acquire::Languages=en -o Dir::State::lists=/tmp/lists
    python rebuild_from_apt.py OUTPUT_DIR --lists /tmp/lists

A row is a package of Debian main: `document` the long description, `summary` the synopsis, `id` the package.
Descriptions of fewer than 120 characters and synopses of one word are left out. There is one row a source package
(the binary package of the same name, else the one with the shortest description) and no description twice; a hash
of the source package decides between train, validation and test. The lists change with each point release, and the
hash is this script's own: the result holds the rows of debsum up to a few in a thousand, and some more, but
divides them otherwise.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import re
import subprocess


def stanzas(path):
    """Yields the paragraphs of a Debian control file, in any compression that apt has, as dictionaries."""
    text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", str(path)], check=True, capture_output=True).stdout
    for paragraph in text.decode("utf-8", errors="replace").split("\n\n"):
        fields, name = {}, None
        for line in paragraph.splitlines():
            if line.startswith((" ", "\t")):
                if name:
                    fields[name] += "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if fields:
            yield fields


def document(long_description):
    """Plain text: paragraphs on a line each, lines indented further as they are (Debian Policy 5.6.13)."""
    lines, open_paragraph = [], False
    for line in long_description.splitlines():
        text, verbatim = line.strip(), line.startswith("  ")
        if text in ("", "."):
            open_paragraph = False
        elif open_paragraph and not verbatim:
            lines[-1] += " " + text
        else:
            lines.append(text)
            open_paragraph = not verbatim
    return "\n".join(lines)


def rows(lists):
    """(source package, row) of the packages of main, sorted by source package."""
    descriptions = {}
    for path in sorted(lists.glob("*_dists_bookworm_main_i18n_Translation-en*")):
        for stanza in stanzas(path):
            descriptions[stanza.get("Description-md5")] = stanza.get("Description-en", "")
    packages = {}
    for path in sorted(lists.glob("*_dists_bookworm_main_binary-*_Packages*")):
        for stanza in stanzas(path):
            source = stanza.get("Source", stanza["Package"]).split(" ")[0]
            description = descriptions.get(stanza.get("Description-md5"), stanza.get("Description", ""))
            summary, _, long_description = description.partition("\n")
            text = document(long_description)
            if len(text) >= 120 and len(summary.split()) >= 2:
                row = {"id": stanza["Package"], "document": text, "summary": summary.strip()}
                packages.setdefault(source, {})[stanza["Package"]] = row
    for source, binaries in sorted(packages.items()):
        shortest = min(binaries.values(), key=lambda row: (len(row["document"]), row["id"]))
        yield source, binaries.get(source, shortest)


def split_of(source):
    """1 in 60 sources are validation, 2 in 60 test."""
    bucket = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 60
    return "validation" if bucket == 0 else "test" if bucket <= 2 else "train"


def write(path, chosen):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen).encode("utf-8"))
    path.write_bytes(packed.getvalue())
    print(f"{path}: {len(chosen)} rows, {len(packed.getvalue())} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="folder to write to")
    parser.add_argument("--lists", type=pathlib.Path, default=pathlib.Path("/var/lib/apt/lists"),
                        help="folder of the package lists, default /var/lib/apt/lists")
    arguments = parser.parse_args()

    splits, seen = {"train": [], "validation": [], "test": []}, set()
    for source, row in rows(arguments.lists):
        if row["document"] not in seen:
            seen.add(row["document"])
            splits[split_of(source)].append(row)
    if not seen:
        parser.exit(1, f"rebuild_from_apt.py: error: {arguments.lists}: no Translation-en and Packages of bookworm "
                       "main with long descriptions; run apt-get update with -o Acquire::Languages=en\n")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, chosen in splits.items():
        write(arguments.output / f"{name}.jsonl.gz", sorted(chosen, key=lambda row: row["id"]))


if __name__ == "__main__":
    main()
