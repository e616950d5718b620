"""HTTP/1.1 by plain sockets: twenty that talk, five that keep silent, a slow answer, a slow upload, and one that pipelines."""

import asyncio

from stage import *


class Http1:
    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(HOST, PORT)
        return self

    def send(self, path, fields="", method="GET"):
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: edge\r\n{fields}\r\n".encode())

    async def answer(self):
        """The head's fields, and the body."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        check(lines[0].startswith("HTTP/1.1 200"), f"an answer of {lines[0]!r}")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        return fields, await self.reader.readexactly(int(fields["content-length"]))

    async def get(self, path):
        self.send(path)
        return await self.answer()

    async def end(self):
        """When the connection ended: by FIN, with nothing before it. A reset raises."""
        rest = await self.reader.read()
        check(rest == b"", f"{len(rest)} bytes behind the last answer")
        return now()


def says_close(fields):
    return fields.get("connection", "").lower() == "close"


async def talks():
    """Asks every 100 ms until it is told to leave; then the next connection has the next version."""
    client, requests = await Http1().open(), 0
    while True:
        fields, body = await client.get("/version")
        requests += 1
        check(body == f"version {fields['x-listener-version']}".encode(), f"a body of {body!r}")
        if says_close(fields):
            break
        check(fields["x-listener-version"] == "1", "a kept connection changed its version")
        await asyncio.sleep(0.1)
    told = now()
    within(told, 0, FIRST_QUARTER + SLACK, "connection: close")
    ended = await client.end()
    check(ended - told < SLACK, f"the FIN came {ended - told:.2f} s after the close was said")
    fields, _ = await (await Http1().open()).get("/version")
    check(fields["x-listener-version"] == "2", "a new connection got the old version")
    return told, requests + 1


async def keeps_silent():
    """One request before the update, nothing after it: left alone until the end is near."""
    client = await Http1().open()
    await client.get("/version")
    ended = await client.end()
    within(ended, DRAIN - LAST_WORD - 0.1, DRAIN + SLACK, "the FIN of an idle connection")
    return ended


async def waits():
    """A request that is with the upstream when the connection's turn comes is answered, and says close."""
    client = await Http1().open()
    await asyncio.to_thread(until_announced)
    fields, body = await client.get(f"/slow?ms={int(DRAIN * 1000 / 2 + 1000)}")
    check(b"0 bytes" in body, f"a body of {body!r}")
    check(says_close(fields), "a slow answer during the drain did not say close")
    await client.end()
    return 1


async def uploads():
    """An upload that runs through the drain's first half is taken whole."""
    client = await Http1().open()
    await asyncio.to_thread(until_announced)
    pieces, piece = int(DRAIN * 5 + 10), b"x" * 1000
    client.send("/upload", f"content-length: {pieces * len(piece)}\r\n", "POST")
    for _ in range(pieces):
        client.writer.write(piece)
        await client.writer.drain()
        await asyncio.sleep(0.1)
    fields, body = await client.answer()
    check(body.startswith(f"{pieces * len(piece)} bytes".encode()), f"a body of {body!r}")
    check(says_close(fields), "the answer to an upload during the drain did not say close")
    await client.end()
    return pieces * len(piece)


async def pipelines():
    """What stands in the pipeline behind the answer that says close is not answered."""
    client, answers = await Http1().open(), 0
    while True:
        client.send("/version")
        client.send("/version")
        fields, _ = await client.answer()
        answers += 1
        if not says_close(fields):
            fields, _ = await client.answer()
            answers += 1
        if says_close(fields):
            await client.end()
            return answers
        await asyncio.sleep(0.1)


async def story():
    told = [asyncio.create_task(talks()) for _ in range(20)]
    silent = [asyncio.create_task(keeps_silent()) for _ in range(5)]
    await asyncio.sleep(1)
    slow, upload, pipeline = (asyncio.create_task(one()) for one in (waits, uploads, pipelines))
    await asyncio.sleep(0.2)
    ready()
    told, silent = await asyncio.gather(*told), await asyncio.gather(*silent)
    sent, answers = await upload, await pipeline
    requests = sum(count for _, count in told) + len(silent) + await slow + answers + 1
    return (
        f"{requests} requests, none lost; {len(told)} connections told at {span([at for at, _ in told])}, each then ended by FIN; "
        f"{len(silent)} idle ones ended by FIN at {span(silent)}; an upload of {sent} bytes taken whole"
    )


play(story)
