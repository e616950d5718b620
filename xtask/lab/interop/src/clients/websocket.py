"""WebSocket by Python's websockets: five tunnels that carry messages until their version's deadline is near, then 1012."""

import asyncio

import websockets
from stage import *


async def tunnel():
    messages = 0
    async with websockets.connect(f"ws://{HOST}:{PORT}/ws", proxy=None, ping_interval=None) as socket:
        while True:
            text = f"message {messages}"
            try:
                await socket.send(text)
                echoed = await socket.recv()
            except websockets.ConnectionClosed as error:
                # A message that crossed the Close has no answer; its sender knows.
                at, closed = now(), error
                break
            check(echoed == text, f"{echoed!r} came back for {text!r}")
            messages += 1
            await asyncio.sleep(0.05)
    within(at, DRAIN - LAST_WORD - 0.1, DRAIN + SLACK, "the end of a tunnel")
    check(closed.rcvd is not None and closed.rcvd.code == 1012, f"no Close with 1012 but {closed}")
    check(closed.rcvd_then_sent, "the server did not close first")
    return at, messages


async def story():
    tunnels = [asyncio.create_task(tunnel()) for _ in range(5)]
    await asyncio.sleep(1)
    ready()
    seen = await asyncio.gather(*tunnels)
    ends, messages = zip(*seen)
    return f"{sum(messages)} messages echoed; {len(ends)} tunnels ended by Close 1012 at {span(ends)}"


play(story)
