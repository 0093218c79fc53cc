"""Customers for Locust, who ask, read, think, and ask again in the same conversation.

KEY is an API key, CHANNEL (if set) the channel that the messages come from, THINK_S the mean of the seconds between an
answer and the next question.
"""

import os
import random

from locust import task
from locust.contrib.fasthttp import FastHttpUser

QUESTIONS = [
    "How long does delivery take?",
    "Where is my parcel?",
    "Can I pay in instalments?",
    "How do I return an item?",
    "退款多久到账？",
    "怎么修改收货地址？",
]
FOLLOW_UPS = ["and express?", "how much is it?", "那邮费谁出？"]

KEY = os.environ["KEY"]
CHANNEL = os.environ.get("CHANNEL")
THINK_S = float(os.environ.get("THINK_S", "1"))


class Customer(FastHttpUser):
    """One customer with one conversation after the other."""

    connection_timeout = 5.0
    network_timeout = 35.0

    def wait_time(self) -> float:
        return random.expovariate(1 / THINK_S) if THINK_S > 0 else 0.0

    def on_start(self) -> None:
        self.conversation: str | None = None

    @task
    def ask(self) -> None:
        body = {"text": random.choice(FOLLOW_UPS if self.conversation else QUESTIONS)}
        if CHANNEL:
            body["channel"] = CHANNEL
        if self.conversation:
            body["conversation"] = self.conversation
        headers = {"Authorization": f"Bearer {KEY}"}
        with self.client.post("/v1/chat", json=body, headers=headers, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code} {(response.text or '')[:120]}")
                return
            answer = response.json()
            if not answer.get("text"):
                response.failure("an answer without a text")
            self.conversation = None if self.conversation else answer["conversation"]
