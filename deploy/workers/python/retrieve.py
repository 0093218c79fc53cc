"""A retrieval worker in another language: it plays the role `retrieve` beside the Rust workers, or instead of them.

    pip install -r requirements.txt
    python retrieve.py --nats nats://127.0.0.1:4222 passages/

A role is one subject. This worker joins the queue group `retrieve` on `chat.v1.retrieve.<tenant>`, where every member of the
group gets its share of the questions; it answers `$SRV.PING`, `INFO` and `STATS` like any NATS service, so that
`nats service list` shows it. Questions and answers are MessagePack maps or JSON, whichever the question came in; their shapes
are schemas/wire/retrieve_request.schema.json and retrieve_reply.schema.json, the subjects and headers schemas/asyncapi.json.

`passages/<tenant>.jsonl` holds one passage a line: id, document, title, url, text, language (`en`, `zh` or `und`). The search
is by rare words and is meant to be read rather than to be good: put your own in place of `Tenant.search`.
"""

import argparse
import asyncio
import json
import math
import re
import signal
from collections import Counter
from pathlib import Path

import msgpack
import nats
from nats.micro import add_service
from nats.micro.service import EndpointConfig

BODY_BYTES_MAX = 64 * 1024
SENTENCES_MAX = 2
PROBLEM_HEADER = "Talkfleet-Problem"
FORMATS = {
    "application/msgpack": (lambda body: msgpack.unpackb(body, raw=False), msgpack.packb),
    "application/json": (json.loads, lambda value: json.dumps(value, ensure_ascii=False).encode()),
}


def words(text):
    """Lower-case words; Chinese has no spaces, so there every pair of neighbours is one."""
    text = text.lower()
    pairs = [run[i : i + 2] for run in re.findall(r"[\u4e00-\u9fff]+", text) for i in range(max(1, len(run) - 1))]
    return set(re.findall(r"[a-z0-9]+", text) + pairs)


class Tenant:
    """The passages of one company, and how rare each of their words is."""

    def __init__(self, path):
        self.passages = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        self.words = [words(passage["title"] + "\n" + passage["text"]) for passage in self.passages]
        seen = Counter(word for found in self.words for word in found)
        self.rarity = {word: math.log(1 + len(self.passages) / count) for word, count in seen.items()}
        self.rarity_max = math.log(1 + len(self.passages))

    def weight(self, found):
        return sum(self.rarity.get(word, self.rarity_max) for word in found)

    def search(self, text, passages_max):
        asked = words(text)
        whole = self.weight(asked) or 1.0
        scored = [(self.weight(asked & found) / whole, i) for i, found in enumerate(self.words)]
        best = sorted((hit for hit in scored if hit[0] > 0), key=lambda hit: (-hit[0], hit[1]))[:passages_max]
        passages = [{**self.passages[i], "score": score} for score, i in best]
        return {
            "passages": passages,
            "extract": self.extract(passages[0]["text"], asked) if passages else None,
            "answerable": best[0][0] if best else 0.0,
            "version": "python-1",
        }

    def extract(self, text, asked):
        """The sentences that share most with the question, in their own order."""
        sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text) if s.strip()]
        ranked = sorted(sentences, key=lambda sentence: -self.weight(asked & words(sentence)))
        return " ".join(sentence for sentence in sentences if sentence in ranked[:SENTENCES_MAX])


def format_of(request):
    """The Content-Type of a question; without one, a body that begins with `{` is JSON."""
    named = (request.headers or {}).get("Content-Type", "").split(";")[0].strip().lower()
    return named or ("application/json" if request.data.lstrip()[:1] == b"{" else "application/msgpack")


def answer(tenants, subject, read, body):
    """The reply to one question; ValueError says what is wrong with it."""
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"it has more than {BODY_BYTES_MAX} bytes")
    question = read(body)
    if not isinstance(question, dict):
        raise ValueError("it is not a map")
    text, passages_max = question.get("text"), question.get("passages_max")
    if not isinstance(text, str) or not isinstance(passages_max, int) or passages_max < 0:
        raise ValueError("'text' must be a string and 'passages_max' a number")
    tenant = tenants.get(subject.rsplit(".", 1)[-1])
    return tenant.search(text, passages_max) if tenant else {"passages": [], "extract": None, "answerable": 0.0}


async def serve(nats_url, folder):
    tenants = {path.stem: Tenant(path) for path in sorted(folder.glob("*.jsonl"))}
    connection = await nats.connect(nats_url, name="talkfleet-retrieve-python", max_reconnect_attempts=-1)

    async def handle(request):
        format = format_of(request)
        read, write = FORMATS.get(format, FORMATS["application/json"])
        headers = {"Content-Type": format if format in FORMATS else "application/json", "Talkfleet-Schema": "1"}
        try:
            if format not in FORMATS:
                raise ValueError(f"its Content-Type is none of {', '.join(FORMATS)}")
            await request.respond(write(answer(tenants, request.subject, read, request.data)), headers)
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            problem = {"code": "bad_json", "message": f"The body does not have the documented shape: {str(error) or 'not readable'}."}
            headers[PROBLEM_HEADER] = problem["code"]
            # A header is one line of ASCII.
            said = problem["message"].encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
            await request.respond_error("400", said, write(problem), headers)

    service = await add_service(connection, name="talkfleet-retrieve", version="0.1.0", description="Passages, by rare words")
    await service.add_endpoint(EndpointConfig("retrieve", handle, "retrieve", "chat.v1.retrieve.*"))
    print(f"answering chat.v1.retrieve.* for {', '.join(tenants) or 'nobody'}", flush=True)

    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    await stopping.wait()
    await service.stop()
    await connection.drain()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--nats", default="nats://127.0.0.1:4222", metavar="URL")
    arguments.add_argument("passages", type=Path, help="folder of <tenant>.jsonl")
    given = arguments.parse_args()
    asyncio.run(serve(given.nats, given.passages))
