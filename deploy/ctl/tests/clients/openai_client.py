"""The unmodified OpenAI client against a gateway: only base_url and api_key differ.

    python openai_client.py http://127.0.0.1:8080/v1 tf_…

Needs the packages `openai` and, for its part, `langchain-openai`; exits 0 when every check held.
"""

import sys

import openai

MODEL = "talkfleet"
QUESTION = "How do I return something I bought?"


def main(base_url: str, key: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, timeout=60)
    checks = [
        models_are_listed,
        an_answer_in_one_piece,
        a_streamed_answer,
        a_conversation_goes_on,
        a_history_comes_along,
        wrong_requests_are_refused,
    ]
    for check in checks:
        check(client)
        print("ok", check.__name__)
    a_wrong_key_is_refused(base_url)
    print("ok a_wrong_key_is_refused")
    print("ok langchain" if langchain(base_url, key) else "-- langchain-openai is not installed")


def models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).object == "model"
    refused(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("gpt-4o"), param="model")


def an_answer_in_one_piece(client: openai.OpenAI) -> None:
    completion = ask(client, messages=[{"role": "system", "content": "Be brief."}, user(QUESTION)], temperature=0.3)
    [choice] = completion.choices
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason == "stop" and completion.object == "chat.completion" and completion.model == MODEL
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    extra = completion.talkfleet
    assert completion.id == "chatcmpl-" + extra["request"] and completion._request_id == extra["request"]
    assert extra["intent"]["name"] and 0 <= extra["intent"]["confidence"] <= 1
    assert extra["kind"] == "answer" and extra["language"] == "en", extra
    assert extra["citations"] and all(citation["title"] and citation["url"] for citation in extra["citations"])
    assert extra["timings"]["total_ms"] > 0 and extra["rung"] in ("model", "extract", "canned")


def a_streamed_answer(client: openai.OpenAI) -> None:
    chunks = list(ask(client, messages=[user(QUESTION)], stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    *spoken, usage = chunks
    assert usage.choices == [] and usage.usage is not None and all(chunk.usage is None for chunk in spoken)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken).strip()
    assert [chunk.choices[0].finish_reason for chunk in spoken if chunk.choices[0].finish_reason] == ["stop"]
    assert spoken[-1].talkfleet["citations"]
    plain = list(ask(client, messages=[user("hello")], stream=True))
    assert all(chunk.choices for chunk in plain)


def a_conversation_goes_on(client: openai.OpenAI) -> None:
    first = ask(client, messages=[user(QUESTION)]).talkfleet["conversation"]
    again = ask(client, messages=[user("And how long do I have?")], metadata={"conversation": first})
    assert again.talkfleet["conversation"] == first
    extra = ask(client, messages=[user("Thanks!")], extra_body={"conversation": first}, user="ann@shop.example")
    assert extra.talkfleet["conversation"] == first
    assert ask(client, messages=[user(QUESTION)]).talkfleet["conversation"] != first


def a_history_comes_along(client: openai.OpenAI) -> None:
    messages = [user("Hi"), {"role": "assistant", "content": "Hello!"}, user([{"type": "text", "text": QUESTION}])]
    assert ask(client, messages=messages).choices[0].message.content


def wrong_requests_are_refused(client: openai.OpenAI) -> None:
    def bad(**fields):
        return lambda: ask(client, **{"messages": [user(QUESTION)], **fields})

    refused(openai.NotFoundError, "model_not_found", bad(model="gpt-4o"), param="model")
    refused(openai.BadRequestError, "bad_json", bad(n=2), param="n")
    refused(openai.BadRequestError, "bad_json", bad(temperature=9), param="temperature")
    refused(openai.BadRequestError, "bad_json", bad(tool_choice="required"), param="tool_choice")
    refused(openai.BadRequestError, "bad_text", bad(messages=[user("  ")]), param="messages")
    refused(openai.BadRequestError, "bad_history", bad(messages=[]), param="messages")
    image = [{"type": "image_url", "image_url": {"url": "https://shop.example/a.png"}}]
    refused(openai.BadRequestError, "bad_json", bad(messages=[user(image)]), param="messages[0].content")
    refused(openai.BadRequestError, "bad_id", bad(extra_body={"conversation": "a.b"}), param="conversation")
    refused(openai.BadRequestError, "bad_deadline", bad(extra_body={"deadline_ms": 1}))


def a_wrong_key_is_refused(base_url: str) -> None:
    stranger = openai.OpenAI(base_url=base_url, api_key="tf_wrong")
    refused(openai.AuthenticationError, "invalid_api_key", lambda: ask(stranger, messages=[user("hi")]))


def langchain(base_url: str, key: str) -> bool:
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        return False
    model = ChatOpenAI(model=MODEL, base_url=base_url, api_key=key)
    assert model.invoke([("system", "Be brief."), ("human", QUESTION)]).content
    assert "".join(piece.content for piece in model.stream(QUESTION)).strip()
    return True


def ask(client: openai.OpenAI, **fields):
    return client.chat.completions.create(**{"model": MODEL, **fields})


def user(content) -> dict:
    return {"role": "user", "content": content}


def refused(kind: type[openai.APIStatusError], code: str, call, param: str | None = None) -> None:
    try:
        call()
    except kind as error:
        assert (error.code, error.param) == (code, param), (error.code, error.param, error.message)
        assert error.message
    else:
        raise AssertionError(f"{code} was not refused")


if __name__ == "__main__":
    main(*sys.argv[1:3])
