"""What the Python clients have in common: their arguments, the moment of the update, and how they end.

A client says `ready` when its traffic flows; gets a line on standard input half a second before the listeners are replaced,
and another when they have been; and ends with `ok: ` and what it saw, or with `FAILED: ` and what it missed.
"""

import asyncio
import inspect
import os
import sys
import threading
import time
import traceback

HOST = "127.0.0.1"
PORT, TCP_PORT = int(sys.argv[1]), int(sys.argv[2])
#: The drain time in seconds, and what follows from it as the proxy is configured.
DRAIN = float(sys.argv[3])
DRAIN_TIMEOUT, DELAYED_CLOSE, FIRST_QUARTER = DRAIN / 4, DRAIN / 16, DRAIN / 4
#: The drain's last word comes so long before its end.
LAST_WORD = 1.0
#: The certificate of a server over TLS, which keeps Envoy's default timeouts.
TRUSTED = sys.argv[4] if len(sys.argv) > 4 else None
if TRUSTED:
    DRAIN_TIMEOUT, DELAYED_CLOSE = 5.0, 1.0
#: What a busy machine may add to any instant.
SLACK = 1.5

_announced, _updated = threading.Event(), threading.Event()
_updated_at = float("inf")


class Missed(Exception):
    """Something that was promised did not happen, or the other way round."""


def check(fact, otherwise):
    if not fact:
        raise Missed(otherwise)


def now():
    """Seconds since the update; negative before it."""
    return time.monotonic() - _updated_at


def updated():
    return _updated.is_set()


def within(at, earliest, latest, what):
    check(earliest <= at <= latest, f"{what} at {at:.2f} s, not in [{earliest:.2f}, {latest:.2f}] s")


def span(instants):
    return f"{min(instants):.2f}-{max(instants):.2f} s"


def ready():
    print("ready", flush=True)


def _wait():
    global _updated_at
    if sys.stdin.readline():
        _announced.set()
    if sys.stdin.readline():
        _updated_at = time.monotonic()
        _updated.set()


def play(story):
    """Runs a client: a function, or a coroutine, whose result says in figures what it saw."""
    threading.Thread(target=_wait, daemon=True).start()
    limit = DRAIN + 40
    threading.Timer(limit, lambda: end(f"FAILED: not done within {limit:.0f} s", 1)).start()
    try:
        seen = asyncio.run(story()) if inspect.iscoroutinefunction(story) else story()
        end(f"ok: {seen}", 0)
    except Missed as missed:
        end(f"FAILED: {missed}", 1)
    except Exception:
        end(f"FAILED: {traceback.format_exc(limit=-3)}", 1)


def end(line, code):
    print(line, flush=True)
    # Threads that still wait for something are of no more use.
    os._exit(code)


def until_announced():
    """The moment to begin what shall be under way when the drain starts."""
    check(_announced.wait(60), "no update was announced")
