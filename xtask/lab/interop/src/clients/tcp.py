"""TCP by plain sockets: ten that talk, five that keep silent. Everybody carries data until the deadline is near; then FIN."""

import asyncio

from stage import *


async def talks():
    reader, writer = await asyncio.open_connection(HOST, TCP_PORT)
    number = 0
    while True:
        piece = f"{number:07}\n".encode() * 32
        writer.write(piece)
        try:
            echoed = await reader.readexactly(len(piece))
        except asyncio.IncompleteReadError as ended:
            # What was sent while the FIN was on its way has no answer: TCP has no word for "leave".
            check(ended.partial == piece[: len(ended.partial)], "bytes that nobody sent")
            break
        check(echoed == piece, "other bytes came back than were sent")
        number += 1
        await asyncio.sleep(0.05)
    within(now(), DRAIN - LAST_WORD - 0.1, DRAIN + SLACK, "the FIN of a busy stream")
    return now(), number


async def keeps_silent():
    reader, writer = await asyncio.open_connection(HOST, TCP_PORT)
    writer.write(b"once")
    check(await reader.readexactly(4) == b"once", "no echo")
    check(await reader.read() == b"", "bytes that nobody sent")
    within(now(), DRAIN - LAST_WORD - 0.1, DRAIN + SLACK, "the FIN of a quiet stream")
    return now()


async def story():
    talking = [asyncio.create_task(talks()) for _ in range(10)]
    silent = [asyncio.create_task(keeps_silent()) for _ in range(5)]
    await asyncio.sleep(1)
    ready()
    talking, silent = await asyncio.gather(*talking), await asyncio.gather(*silent)
    pieces = sum(number for _, number in talking)
    return (
        f"{pieces} pieces echoed whole; {len(talking)} busy streams ended by FIN at {span([at for at, _ in talking])}, "
        f"{len(silent)} quiet ones at {span(silent)}; no RST"
    )


play(story)
