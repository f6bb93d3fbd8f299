#!/usr/bin/env python3
"""A witness of c2sp.org/tlog-witness for tests, with nothing but the standard library.

    witness.py DIR [PORT]

Prints its vkey and its port. Knows the logs whose vkeys stand in DIR/logs, one a line, and keeps what it cosigned in
DIR. What is in DIR/mode makes it misbehave: `forge` (a cosignature of another time), `other` (by another key), `odd`
(500). Written from the specification; shares no line with the gateway.
"""

import base64
import hashlib
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from verify import BASE, ORDER, Bad, key_id, open_note, parse_vkey, sha256, times

NAME = "witness.example/test"
P = 2**255 - 19


def coded(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


class Key:
    def __init__(self, seed):
        digest = hashlib.sha512(seed).digest()
        low = int.from_bytes(digest[:32], "little")
        self.scalar = low & (1 << 254) - 8 | 1 << 254
        self.prefix, self.public = digest[32:], coded(times(self.scalar, BASE))

    def sign(self, message):
        number = lambda *parts: int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER
        r = number(self.prefix, message)
        start = coded(times(r, BASE))
        s = (r + number(start, self.public, message) * self.scalar) % ORDER
        return start + s.to_bytes(32, "little")

    def id(self):
        return sha256(NAME.encode(), b"\n\x04", self.public)[:4]

    def vkey(self):
        encoded = base64.b64encode(b"\x04" + self.public).decode()
        return f"{NAME}+{self.id().hex()}+{encoded}"

    def cosign(self, text, at, said):
        signature = self.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        raw = self.id() + said.to_bytes(8, "big") + signature
        return f"\u2014 {NAME} {base64.b64encode(raw).decode()}\n"


def consistent(old, new, old_root, new_root, proof):
    """RFC 9162, section 2.1.4.2."""
    if old == 0:
        return not proof
    if old == new:
        return not proof and old_root == new_root
    path = ([old_root] if old & (old - 1) == 0 else []) + proof
    if not path:
        return False
    f, s = old - 1, new - 1
    while f & 1:
        f, s = f >> 1, s >> 1
    first, *rest = path
    fr = sr = first
    for c in rest:
        if s == 0:
            return False
        if f & 1 or f == s:
            fr, sr = sha256(b"\x01", c, fr), sha256(b"\x01", c, sr)
            while f and not f & 1:
                f, s = f >> 1, s >> 1
        else:
            sr = sha256(b"\x01", sr, c)
        f, s = f >> 1, s >> 1
    return fr == old_root and sr == new_root and s == 0


class Witness:
    def __init__(self, place):
        self.place, self.key, self.other = place, Key(b"w" * 32), Key(b"x" * 32)

    def state(self, origin):
        path = self.place / hashlib.sha256(origin.encode()).hexdigest()
        note = path.read_text() if path.is_file() else None
        if note is None:
            return path, 0, b""
        _, size, root, *_ = note.split("\n")
        return path, int(size), base64.b64decode(root)

    def add(self, body):
        mode = self.place / "mode"
        mode = mode.read_text().strip() if mode.is_file() else ""
        if mode == "odd":
            return 500, "broken\n"
        head, _, note = body.partition("\n\n")
        old, *proof = head.split("\n")
        if not old.startswith("old ") or str(int(old[4:])) != old[4:] or len(proof) > 63:
            return 400, "not a request\n"
        old, proof = int(old[4:]), [base64.b64decode(line, validate=True) for line in proof]
        text, origin = note.rpartition("\n\n")[0] + "\n", note.split("\n")[0]
        known = (self.place / "logs").read_text().split() if (self.place / "logs").is_file() else []
        keys = [key for name, key in map(parse_vkey, known) if name == origin]
        if not keys:
            return 404, "no such log\n"
        for key in keys:
            try:
                size, root, _ = open_note(note, origin, key)
                break
            except Bad:
                continue
        else:
            return 403, "not signed by the log\n"
        path, latest, latest_root = self.state(origin)
        if old > size:
            return 400, "the old size is larger\n"
        if old != latest:
            return 409, f"{latest}\n"
        if not consistent(old, size, latest_root, root, proof):
            return 422, "not consistent\n"
        now = int(time.time())
        line = self.key.cosign(text, now, now)
        path.write_text(note + line)
        if mode == "forge":
            line = self.key.cosign(text, now, now + 1)
        if mode == "other":
            line = self.other.cosign(text, now, now)
        return 200, line


def handler(witness):
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, text):
            raw = text.encode()
            self.send_response(status)
            kind = "text/x.tlog.size" if status == 409 else "text/plain"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = witness.add(body) if self.path == "/w/add-checkpoint" else (404, "\n")
            with open(witness.place / "asked", "a") as asked:
                asked.write(f"{body.split(chr(10))[0]} {status}\n")
            self.answer(status, text)

        def log_message(self, *_):
            pass

    return Handler


if __name__ == "__main__":
    witness = Witness(Path(sys.argv[1]))
    server = HTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), handler(witness))
    print(witness.key.vkey(), server.server_port, flush=True)
    server.serve_forever()
