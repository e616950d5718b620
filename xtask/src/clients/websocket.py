"""WebSocket by Python's websockets: five tunnels that carry messages until their version's deadline is near."""

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
            except websockets.ConnectionClosed as closed:
                # Nobody may put a Close frame into a tunnel whose frames he does not read: the end is a FIN, which
                # the API tells as 1006 (RFC 6455 section 7.1.5). A reset would have a cause.
                reset = closed.__cause__
                check(not isinstance(reset, ConnectionResetError), "the tunnel ended in a reset")
                at, code = now(), socket.close_code
                break
            check(echoed == text, f"{echoed!r} came back for {text!r}")
            messages += 1
            await asyncio.sleep(0.05)
    within(at, DRAIN - LAST_WORD - 0.1, DRAIN + SLACK, "the end of a tunnel")
    check(code == 1006, f"the tunnel ended with code {code}")
    return at, messages


async def story():
    tunnels = [asyncio.create_task(tunnel()) for _ in range(5)]
    await asyncio.sleep(1)
    ready()
    seen = await asyncio.gather(*tunnels)
    ends, messages = zip(*seen)
    return f"{sum(messages)} messages echoed; {len(ends)} tunnels ended by FIN at {span(ends)}, code 1006"


play(story)
