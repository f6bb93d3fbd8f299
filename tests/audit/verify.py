#!/usr/bin/env python3
"""Verifies an audit log, from docs/AUDIT-FORMAT.md alone and with nothing but the standard library.

    verify.py LOG-DIR VKEY [WITNESS-VKEY]

Prints one JSON object: {"ok": true, "records": N, "signed": S, "cosigned": C, "payloads": …} or {"ok": false, "record": N or null,
"error": "..."}. Slow and short on purpose: it is a second opinion, not a tool.
"""

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path

TILE = 256


class Bad(Exception):
    def __init__(self, what, record=None):
        super().__init__(what)
        self.record = record


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Ed25519 of RFC 8032, verification only.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(a, b):
    m, n = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    t, z = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = n - m, z - t, z + t, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def point(coded):
    y = int.from_bytes(coded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519(key, message, signature):
    a, r = point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER or len(signature) != 64:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    left, right = times(s, BASE), add(r, times(h, a))
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


# Notes and keys.
def parse_vkey(text, kind=1):
    name, _, coded = text.split("+", 2)
    raw = base64.b64decode(coded, validate=True)
    if raw[0] != kind or len(raw) != 33 or text != vkey(name, raw[1:], kind):
        raise Bad(f"not a key: {text}")
    return name, raw[1:]


def key_id(name, key, kind=1):
    return sha256(name.encode(), b"\n", bytes([kind]), key)[:4]


def vkey(name, key, kind=1):
    coded = base64.b64encode(bytes([kind]) + key).decode()
    return f"{name}+{key_id(name, key, kind).hex()}+{coded}"


def open_note(note, name, key):
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    signed = False
    for line in signatures.splitlines():
        dash, who, coded = line.split(" ")
        raw = base64.b64decode(coded, validate=True)
        if dash != "\u2014":
            raise Bad("not a note")
        if who == name and raw[:4] == key_id(name, key):
            if not ed25519(key, text.encode(), raw[4:]):
                raise Bad("a signature does not verify")
            signed = True
    if not signed:
        raise Bad("not signed by the key of its epoch")
    origin, size, root, *more = text.splitlines()
    following = None
    if more:
        word, following = more[0].split(" ")
        if len(more) > 1 or word != "next":
            raise Bad("not a checkpoint")
    if origin != name or str(int(size)) != size:
        raise Bad("not a checkpoint of this log")
    return int(size), base64.b64decode(root, validate=True), following


def open_cosigned(note, name, key):
    """Size and root of what this witness has seen."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    seen = False
    for line in signatures.splitlines():
        _, who, coded = line.split(" ")
        raw = base64.b64decode(coded, validate=True)
        if who == name and raw[:4] == key_id(name, key, 4):
            time = int.from_bytes(raw[4:12], "big")
            signed = f"cosignature/v1\ntime {time}\n{text}".encode()
            if not time or not ed25519(key, signed, raw[12:]):
                raise Bad("a cosignature does not verify")
            seen = True
    if not seen:
        raise Bad("not cosigned")
    return int(text.split("\n")[1]), base64.b64decode(text.split("\n")[2], validate=True)


# The tree.
class Tree:
    """Roots of the complete subtrees, largest first."""

    def __init__(self):
        self.size, self.stack = 0, []

    def push(self, leaf):
        self.size += 1
        height = 0
        while self.size >> height & 1 == 0:
            leaf = sha256(b"\x01", self.stack.pop(), leaf)
            height += 1
        self.stack.append(leaf)

    def root(self):
        if not self.stack:
            return sha256()
        *rest, root = self.stack
        for left in reversed(rest):
            root = sha256(b"\x01", left, root)
        return root


def subtree(hashes):
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01", subtree(hashes[:k]), subtree(hashes[k:]))


class Tiles:
    def __init__(self, place, size):
        self.place, self.size, self.known = place, size, {}

    def tile(self, level, index):
        if (level, index) not in self.known:
            width = min(TILE, (self.size >> 8 * level) - index * TILE)
            path, rest = f"{index % 1000:03}", index // 1000
            while rest:
                path, rest = f"x{rest % 1000:03}/{path}", rest // 1000
            path = self.place / "tile" / str(level) / path
            for file in (path, *(Path(f"{path}.p") / str(w) for w in range(width, TILE))):
                if file.is_file():
                    raw = file.read_bytes()[: 32 * width]
                    break
            else:
                raw = b""
            self.known[level, index] = [raw[i : i + 32] for i in range(0, len(raw), 32)]
        return self.known[level, index]

    def leaf(self, seq):
        tile = self.tile(0, (seq - 1) // TILE)
        at = (seq - 1) % TILE
        return tile[at] if at < len(tile) else None

    def over(self, low, high):
        n = high - low
        if n & (n - 1):
            k = 1 << (n - 1).bit_length() - 1
            return sha256(b"\x01", self.over(low, low + k), self.over(low + k, high))
        level = (n.bit_length() - 1) // 8
        first, count = low >> 8 * level, n >> 8 * level
        hashes = self.tile(level, first // TILE)[first % TILE :][:count]
        if len(hashes) < count:
            raise Bad("a tile is gone")
        return subtree(hashes)

    def confirmed(self, seq, size, root):
        """Whether the leaf of a record, as its tile has it, is under a signed root."""
        try:
            low, high, turns = 0, size, []
            while high - low > 1:
                middle = low + (1 << (high - low - 1).bit_length() - 1)
                if seq - 1 < middle:
                    turns.append((True, self.over(middle, high)))
                    high = middle
                else:
                    turns.append((False, self.over(low, middle)))
                    low = middle
            found = self.leaf(seq)
            for left, other in reversed(turns):
                found = sha256(b"\x01", found, other) if left else sha256(b"\x01", other, found)
            return found == root
        except Bad:
            return False


def canonical(line):
    """The record, if the line is the one way to write it."""
    try:
        record = json.loads(line, parse_float=lambda _: None)
        again = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return record if isinstance(record, dict) and again.encode() == line else None
    except (ValueError, UnicodeError):
        return None


class Vault:
    """What is kept of the contents that the records of a segment commit to. No part of the log."""

    def __init__(self):
        self.counts, self.lines = dict(commitments=0, kept=0, opened=0, wrong=0), {}

    def open(self, path):
        self.lines = {}
        for line in path.read_bytes().split(b"\n") if path.is_file() else []:
            if (kept := canonical(line)) is not None:
                self.lines[kept["commit"]] = kept

    def hold_against(self, record):
        for member in (member for member in record if member.endswith("_commit")):
            kept = self.lines.get(record[member])
            self.counts["commitments"] += 1
            self.counts["kept"] += kept is not None
            if kept is not None and "text" in kept:
                digest = hashlib.sha256(kept["text"].encode()).digest()
                commit = hmac.digest(bytes.fromhex(kept["salt"]), digest, "sha256").hex()
                self.counts["opened"] += commit == record[member]
                self.counts["wrong"] += commit != record[member] and kept["as"] == "full"


def verify(place, first_key, witness=None):
    name, key = parse_vkey(first_key)
    checkpoint = (place / "checkpoint").read_bytes().decode()
    keys, ends, roots = [first_key], [], {}
    while (path := place / "epoch" / f"{len(ends):06}").is_file():
        size, root, following = open_note(path.read_bytes().decode(), name, key)
        if following is None or (ends and size <= ends[-1]):
            raise Bad("an epoch does not end as it should")
        keys.append(following)
        ends.append(size)
        roots[size] = root
        _, key = parse_vkey(following)
    size = int(checkpoint.split("\n")[1])
    epoch = sum(end < size for end in ends)
    size, root, _ = open_note(checkpoint, name, parse_vkey(keys[epoch])[1])
    if roots.setdefault(size, root) != root:
        raise Bad("two roots of one size")
    signed, cosigned = max(roots), None
    if witness:
        note = (place / "cosigned").read_bytes().decode()
        cosigned, root = open_cosigned(note, *parse_vkey(witness, 4))
        if cosigned > signed:
            raise Bad("not signed any more, though it was cosigned", signed + 1)
        if roots.setdefault(cosigned, root) != root:
            raise Bad("not what was cosigned")
    tiles, tree, sound, differs = Tiles(place, signed), Tree(), 0, None
    files = sorted((place / "seg").glob("*.jsonl"), key=lambda path: int(path.stem))
    seq, prev, first, expired, vault = 0, bytes(32), 1, 0, Vault()

    def take(leaf):
        nonlocal sound, differs
        tree.push(leaf)
        if tree.size <= signed and differs is None and tiles.leaf(tree.size) != leaf:
            differs = tree.size
            over = min(size for size in roots if size >= tree.size)
            if tiles.confirmed(tree.size, over, roots[over]):
                raise Bad("not the record that was signed", tree.size)
        if tree.size in roots:
            if roots[tree.size] != tree.root():
                raise Bad("not the records that were signed", sound + 1)
            sound = tree.size
            if differs is not None:
                raise Bad("the record that was signed, but its tile is damaged", differs)

    for at, path in enumerate(files):
        if int(path.stem) != int(files[0].stem) + at:
            raise Bad("a segment is missing", seq + 1)
        vault.open(place / "vault" / path.name)
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                if seq >= signed and path == files[-1]:
                    break
                raise Bad("torn", seq + 1)
            line = line[:-1]
            record = canonical(line)
            if record is None:
                raise Bad("not a record", seq + 1)
            if seq == 0 and int(files[0].stem) > 1:
                first = record["seq"]
                for seq in range(1, first):
                    if (prev := tiles.leaf(seq)) is None:
                        raise Bad("gone, and its tile too", seq)
                    take(prev)
            if record.get("seq") != seq + 1 or record.get("prev") != prev.hex():
                raise Bad("does not follow", seq + 1)
            seq, prev = seq + 1, sha256(b"\x00", line)
            if seq == 1 and (record["kind"], record["origin"], record["pubkey"]) != (
                "log_begun", name, first_key,
            ):
                raise Bad("not the beginning of this log", 1)
            if record["kind"] == "expired":
                expired = max(expired, record["up_to"])
            take(prev)
            vault.hold_against(record)
            if seq in ends and (record["kind"], record["pubkey"]) != (
                "key_epoch", keys[ends.index(seq) + 1],
            ):
                raise Bad("does not name the next key", seq)
    if seq < signed:
        raise Bad("gone, though it was signed", seq + 1)
    if expired < first - 1:
        raise Bad("gone without a word", expired + 1)
    return {"ok": True, "records": seq, "signed": signed, "cosigned": cosigned, "payloads": vault.counts}


if __name__ == "__main__":
    try:
        told = verify(Path(sys.argv[1]), *sys.argv[2:])
    except Bad as bad:
        told = {"ok": False, "record": bad.record, "error": str(bad)}
    print(json.dumps(told))
    sys.exit(not told["ok"])
