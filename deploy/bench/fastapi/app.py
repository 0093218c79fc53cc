"""The gateway of the system that Talkfleet replaces: FastAPI before NATS and three workers, or all of it in one process."""

import json
import os
from contextlib import asynccontextmanager

import nats
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

import roles

KEY = f"Bearer {os.environ['API_KEY']}"
IN_PROCESS = os.environ.get("MODE") == "in-process"
PREFIX = os.environ.get("SUBJECT_PREFIX", "")
broker = None


class Message(BaseModel):
    text: str = Field(min_length=1, max_length=4000)
    conversation: str | None = None
    user: str | None = None
    channel: str | None = None
    deadline_ms: int = 10_000


@asynccontextmanager
async def lifespan(_: FastAPI):
    global broker
    if not IN_PROCESS:
        broker = await nats.connect(os.environ["NATS_URL"], name="fastapi-gateway")
    yield
    if broker:
        await broker.drain()


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/healthz")
async def healthz():
    return {"ok": True}


@app.post("/v1/chat")
async def chat(message: Message, authorization: str | None = Header(default=None)):
    if authorization != KEY:
        raise HTTPException(401)
    turn = {"text": message.text, "conversation": message.conversation, "user": message.user}
    if IN_PROCESS:
        return roles.response(roles.retrieval(roles.intent(turn)))
    try:
        asked = json.dumps(turn, ensure_ascii=False).encode()
        answered = await broker.request(f"{PREFIX}.intent", asked, timeout=message.deadline_ms / 1000)
    except nats.errors.NoRespondersError as error:
        raise HTTPException(503, headers={"Retry-After": "1"}) from error
    except nats.errors.TimeoutError as error:
        raise HTTPException(504) from error
    return json.loads(answered.data)
