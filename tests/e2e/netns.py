"""A network of its own: a namespace with a loopback, in which a hub, a daemon and a name server live.

One thread is inside; what is made by it is inside too: sockets, and processes. So the hub of this process can be
asked and told as ever, while what lies between it and the daemon is taken away with iptables and ip.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
SERVFAIL, NXDOMAIN = 2, 3


class Network:
    def __init__(self) -> None:
        self._inside = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="netns")
        self.do(self._enter)

    def _enter(self) -> None:
        if os.geteuid() != 0 or not shutil.which("iptables") or not shutil.which("ip"):
            pytest.skip("needs root, ip and iptables: tools/install-deps test")
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
            pytest.skip(f"no network namespace can be made here: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def do(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls @action inside."""
        return self._inside.submit(action, *args, **kwargs).result()

    def run(self, *command: str, check: bool = True) -> bool:
        done = self.do(subprocess.run, command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
        return done.returncode == 0

    def close(self) -> None:
        self._inside.shutdown()

    # -- what can happen to a network -----------------------------------------------------------

    def swallow(self, *match: str) -> None:
        """Packets go nowhere from now on: all, or those that @match."""
        self.run("iptables", "-A", "INPUT", *match, "-j", "DROP")

    def lose(self, share: float) -> None:
        self.swallow("-m", "statistic", "--mode", "random", "--probability", str(share))

    def swallow_what_is_open(self, ports: list[int]) -> None:
        """The connections to these ports that there are now, as where a router forgets them; new ones work."""
        for port in self._clients_of(ports):
            for side in ("--sport", "--dport"):
                self.swallow("-p", "tcp", side, str(port))

    def _clients_of(self, ports: list[int]) -> set[int]:
        rows = self.do(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]
        ends = [[int(end.split(":")[1], 16) for end in row.split()[1:3]] for row in rows]
        return {local for local, remote in ends if remote in ports}

    def refuse(self) -> None:
        self.run("iptables", "-A", "INPUT", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")

    def cut(self) -> None:
        self.run("ip", "link", "set", "lo", "down")

    def mend(self) -> None:
        self.run("iptables", "-F", "INPUT")
        self.run("ip", "link", "set", "lo", "up")


class NameServer:
    """Answers for *.test at the addresses of this machine's name servers, which are the loopback's inside."""

    def __init__(self, network: Network, names: dict[str, str]) -> None:
        self.names = names
        self.mode: str | int = "answer"  # or "silent", or one of the codes above
        self.asked = 0
        self._sockets = [network.do(self._listen, network, address) for address in self._addresses()]
        for sock in self._sockets:
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
        if not network.run("getent", "ahostsv4", next(iter(names)), check=False):
            self.close()
            pytest.skip("names are not looked up as /etc/resolv.conf says here")

    @staticmethod
    def _addresses() -> list[str]:
        lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
        found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]]
        return found[:3] or ["127.0.0.1"]

    def _listen(self, network: Network, address: str) -> socket.socket:
        v6 = ":" in address
        if not address.startswith("127.") and address != "::1":
            subprocess.run(["ip", "addr", "add", f"{address}/{128 if v6 else 32}", "dev", "lo"], check=True)
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 53))
        return sock

    def _serve(self, sock: socket.socket) -> None:
        while True:
            try:
                query, peer = sock.recvfrom(4096)
            except OSError:
                return
            self.asked += 1
            if self.mode != "silent":
                sock.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        kind, = struct.unpack("!H", query[at + 1:at + 3])
        address = self.names.get(".".join(labels).lower())
        code = self.mode if isinstance(self.mode, int) else 0 if address else NXDOMAIN
        answers = b""
        if code == 0 and address and kind == 1:  # A; there is no other
            answers = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if answers else 0, 0, 0)
        return head + query[12:at + 5] + answers

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
