"""A classifier behind a real model server, for the worker's remote arm: MLServer and a model that is trained while it loads.

    pip install -r requirements.txt
    mlserver start .
    talkfleet-worker --set intent.remote_url=http://127.0.0.1:8080 --set intent.remote_model=intent

It stands in for a fine-tuned BERT, which MLServer serves by its HuggingFace runtime: the protocol, not the model, is what it
shows. `extra.answers` in model-settings.json chooses among the shapes that such servers send: `labels` (labels and their
scores), `huggingface` (JSON in one text, as that runtime writes it) or `logits` (bare scores; the labels in the metadata).

The file is the product's own YAML of intents, of which the examples are read, or JSON lines of `text` and `intent`.
"""

import json
import re
import zlib
from pathlib import Path

import numpy
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceResponse, MetadataTensor, Parameters, ResponseOutput
from mlserver.utils import get_model_uri

FEATURES = 1 << 15
RIDGE = 0.5
# Scores of a ridge regression lie near 0 and 1; this makes logits of them.
SHARPNESS = 10.0
TEXTS_MAX = 20_000


def read(path):
    """The texts of a file and their intents."""
    lines = path.read_text("utf-8").splitlines()
    if path.suffix != ".yaml":
        rows = [json.loads(line) for line in lines if line.strip()]
        return [(row["text"], row["intent"]) for row in rows if row["intent"]]
    found, intent, examples = [], None, False
    for line in lines:
        if name := re.fullmatch(r"  - name: (\S+)", line):
            intent = name[1]
        elif key := re.fullmatch(r"    (\w+):.*", line):
            examples = key[1] == "examples"
        elif examples and intent and (text := re.fullmatch(r'\s+- ("(?:[^"\\]|\\.)*")', line)):
            found.append((json.loads(text[1]), intent))
        elif re.match(r"\S", line):
            intent, examples = None, False
    return found


def vector(text):
    """Hashed runs of one to four characters, as a unit vector."""
    text = f" {text.lower().strip()} "
    grams = {text[at : at + size] for size in (1, 2, 3, 4) for at in range(len(text) - size + 1)}
    out = numpy.zeros(FEATURES, dtype=numpy.float32)
    for gram in grams:
        out[zlib.crc32(gram.encode()) % FEATURES] = 1.0
    return out / max(1.0, numpy.linalg.norm(out))


class IntentRuntime(MLModel):
    async def load(self):
        rows = read(Path(await get_model_uri(self.settings)))[:TEXTS_MAX]
        self.labels = sorted({intent for _, intent in rows})
        seen = numpy.stack([vector(text) for text, _ in rows])
        wanted = numpy.array([[float(intent == label) for label in self.labels] for _, intent in rows], dtype=numpy.float32)
        kernel = seen @ seen.T + RIDGE * numpy.eye(len(rows), dtype=numpy.float32)
        self.weights = seen.T @ numpy.linalg.solve(kernel, wanted)
        self.answers = self.settings.parameters.extra.get("answers", "labels")
        labels = Parameters(labels=self.labels)
        self.outputs = [MetadataTensor(name="logits", datatype="FP32", shape=[-1, len(self.labels)], parameters=labels)]
        return True

    async def predict(self, payload):
        [text] = self.decode(payload.inputs[0], default_codec=StringCodec)
        logits = SHARPNESS * (vector(text) @ self.weights)
        scores = numpy.exp(logits - logits.max())
        scores = (scores / scores.sum()).tolist()
        shape = [1, len(self.labels)]
        if self.answers == "logits":
            outputs = [ResponseOutput(name="logits", datatype="FP32", shape=shape, data=logits.tolist())]
        elif self.answers == "huggingface":
            best = max(range(len(scores)), key=scores.__getitem__)
            said = json.dumps({"label": self.labels[best], "score": scores[best]})
            outputs = [ResponseOutput(name="output", datatype="BYTES", shape=[len(said), 1], data=[said])]
        else:
            labels = ResponseOutput(name="label", datatype="BYTES", shape=shape, data=self.labels)
            outputs = [labels, ResponseOutput(name="score", datatype="FP32", shape=shape, data=scores)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
