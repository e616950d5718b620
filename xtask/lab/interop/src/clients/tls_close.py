"""HTTP/1.1 over TLS by Python's ssl, which is OpenSSL: each connection ends with a close_notify, and then with a FIN."""

import socket
import ssl
import time

from stage import *


def open_connection():
    context = ssl.create_default_context(cafile=TRUSTED)
    context.set_alpn_protocols(["http/1.1"])
    plain = socket.create_connection((HOST, PORT), timeout=DRAIN + 10)
    # An end without a close_notify raises, instead of passing for one.
    return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


def get(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nhello\n"):
        piece = connection.recv(65536)
        check(piece, f"the connection ended inside an answer: {answer!r}")
        answer += piece
    check(answer.startswith(b"HTTP/1.1 200"), f"an answer of {answer!r}")
    return b"\r\nconnection: close\r\n" in answer.lower()


def story():
    connections = [open_connection() for _ in range(5)]
    check(all(one.selected_alpn_protocol() == "http/1.1" for one in connections), "ALPN chose something else")
    told, requests = [], 0
    for connection in connections:
        get(connection)
    ready()
    while connections:
        for connection in list(connections):
            requests += 1
            if not get(connection):
                continue
            told.append(now())
            check(connection.recv(1) == b"", "bytes behind the last answer")
            # That was the close_notify. Ours goes out, and the plain socket that is left ends with the server's FIN.
            check(connection.unwrap().recv(1) == b"", "bytes behind the close_notify")
            connections.remove(connection)
        time.sleep(0.05)
    check(min(told) >= 0 and max(told) <= FIRST_QUARTER + SLACK, f"connection: close at {span(told)}")
    return f"{requests + len(told)} requests, none lost; {len(told)} connections told at {span(told)}, each ended by close_notify and FIN"


play(story)
