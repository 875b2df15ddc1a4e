#!/usr/bin/env python3
"""Prints the headers of include/ as few chains, one a line, in which each header includes those before it.

What such a header needs it must include itself, whether or not those before it were read: a chain compiles if and only
if each of its headers compiles alone, and takes little longer than the last.
"""
import re
from pathlib import Path

include = Path(__file__).resolve().parent.parent / "include"
headers = sorted(path.relative_to(include).as_posix() for path in include.rglob("*.hpp"))
direct = {
    header: re.findall(r'^#include ["<](eso/[^">]+\.hpp)', (include / header).read_text(), re.MULTILINE) for header in headers
}


def included_by(header):
    found, todo = set(), list(direct[header])
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += direct[other]
    return found


includes = {header: included_by(header) for header in headers}
# A header may follow another if it includes it, but not where they include each other.
followers = {a: [b for b in headers if a in includes[b] and b not in includes[a]] for a in headers}
before = {}  # a largest matching of headers and those that follow them leaves the fewest chains


def is_followed(header, tried):
    for follower in followers[header]:
        if follower not in tried:
            tried.add(follower)
            if follower not in before or is_followed(before[follower], tried):
                before[follower] = header
                return True
    return False


for header in headers:
    is_followed(header, set())
after = {first: second for second, first in before.items()}
for header in headers:
    if header not in before:
        chain = [header]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        print(*chain)
