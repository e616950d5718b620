"""The upstream behind the proxy, of the standard library alone: HTTP/1.1 with WebSocket and gRPC on one port, an echo of
bytes on another. Prints both ports, and lives until its standard input ends."""

import asyncio
import base64
import hashlib
import struct
import sys
import urllib.parse

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines[1:] if line)
    return lines[0].split(" "), {name.strip().lower(): value.strip() for name, _, value in fields}


async def read_body(reader, fields):
    if fields.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(fields.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return body


def head(status, **fields):
    lines = [f"HTTP/1.1 {status}"] + [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def message(data):
    """A gRPC message: not compressed, its length, itself."""
    return struct.pack(">BI", 0, len(data)) + data


async def grpc(writer, method, body):
    """gRPC over HTTP/1.1: the status travels in the trailers of a chunked body; the proxy makes HTTP/2 of it."""
    said = body[5:]
    writer.write(head("200 OK", content_type="application/grpc", trailer="grpc-status", transfer_encoding="chunked"))
    if method == "Ticks":
        for number in range(int(said)):
            writer.write(chunk(message(str(number).encode())))
            await writer.drain()
            await asyncio.sleep(0.1)
    else:
        writer.write(chunk(message(said)))
    writer.write(b"0\r\ngrpc-status: 0\r\n\r\n")


async def websocket(reader, writer, key):
    """Echoes frames of less than 126 bytes, the Close as well."""
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    switch = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_accept": accept}
    writer.write(head("101 Switching Protocols", **switch))
    while True:
        first, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        data = await reader.readexactly(length & 0x7F)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        writer.write(bytes([first, len(data)]) + data)
        if first & 0x0F == 8:
            return


async def http(reader, writer):
    try:
        while True:
            (_, target, _), fields = await read_head(reader)
            path, _, query = target.partition("?")
            if path == "/ws":
                return await websocket(reader, writer, fields["sec-websocket-key"])
            body = await read_body(reader, fields)
            if path.startswith("/clients.Echo/"):
                await grpc(writer, path.rpartition("/")[2], body)
            else:
                wait = urllib.parse.parse_qs(query).get("ms", ["0"])[0]
                await asyncio.sleep(int(wait) / 1000)
                text = f"{len(body)} bytes after {wait} ms\n".encode()
                writer.write(head("200 OK", content_length=len(text)) + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the proxy may close whenever it likes; the clients judge what came of it
    finally:
        writer.close()


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for serve in (http, echo)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
