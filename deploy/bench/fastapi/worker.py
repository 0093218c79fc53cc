"""One role as a nats-py worker of a queue group: takes a turn, adds its part, hands it to the next role or to who asked."""

import asyncio
import json
import os
import signal
import sys

import nats
import uvloop

import roles

NEXT = {"intent": "retrieval", "retrieval": "response", "response": None}


async def main(role: str) -> None:
    work, after = getattr(roles, role), NEXT[role]
    prefix = os.environ["SUBJECT_PREFIX"]
    broker = await nats.connect(os.environ["NATS_URL"], name=f"fastapi-{role}")

    async def take(message) -> None:
        done = json.dumps(work(json.loads(message.data)), ensure_ascii=False).encode()
        if after:
            await broker.publish(f"{prefix}.{after}", done, reply=message.reply)
        else:
            await broker.publish(message.reply, done)

    await broker.subscribe(f"{prefix}.{role}", queue=role, cb=take)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await broker.drain()


uvloop.run(main(sys.argv[1]))
