"""One question, asked the two ways there are: HTTP with the `openai` client, and gRPC."""

from __future__ import annotations

import openai
from rich.console import Console

import fastgen
from demo.deployment import DemoError
from fastgen.local_state import DeploymentRecord

QUESTION = "What is Dynamic SplitFuse?"
MAX_ANSWER_TOKENS = 96
EXPECTED_WORD = "prompt"
"""An answer to the question cannot do without it."""


def ask_by_openai(client: openai.OpenAI, model: str, console: Console) -> str:
    """The answer, printed as it comes."""
    pieces = []
    with client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=MAX_ANSWER_TOKENS,
        temperature=0,
        stream=True,
    ) as stream:
        for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                pieces.append(text)
                console.print(text, end="", highlight=False, markup=False, soft_wrap=True)
    console.print()
    return _checked("".join(pieces), "HTTP")


def ask_by_grpc(record: DeploymentRecord, console: Console) -> str:
    """The same through gRPC."""
    pieces = []
    with fastgen.client(record.grpc) as client:
        question = [{"role": "user", "content": QUESTION}]
        for piece in client.stream(question, max_new_tokens=MAX_ANSWER_TOKENS, temperature=0.0):
            pieces.append(piece.text)
            console.print(piece.text, end="", highlight=False, markup=False, soft_wrap=True)
    console.print()
    return _checked("".join(pieces), "gRPC")


def _checked(answer: str, way: str) -> str:
    if EXPECTED_WORD not in answer.lower():
        raise DemoError(f"the answer that came by {way} says nothing of prompts: {answer!r}")
    return answer
