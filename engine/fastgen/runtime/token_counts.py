"""Which tokens a sequence has seen, kept on the device for those that ask for penalties.

A sequence's tokens are only ever appended to, so its counts are right when they cover its first
`num_counted` tokens, and catching up means adding the rest: one token per step, or all of them where the
record was dropped (the sequence was not sampled in the step before). Preemption cannot make them wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fastgen.core.sequence import RunningSequence


@dataclass(slots=True)
class _Record:
    sequence: RunningSequence
    slot: int
    num_counted: int = 0


class TokenCounts:
    """A row of counts per sequence with penalties, in two tensors that grow as needed."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._device = device
        self._in_prompt = torch.zeros(0, vocab_size, dtype=torch.bool, device=device)
        self._in_answer = torch.zeros(0, vocab_size, dtype=torch.int32, device=device)
        self._records: dict[int, _Record] = {}
        self._free: list[int] = []

    def penalise(self, logits: torch.Tensor, sequences: Sequence[RunningSequence]) -> torch.Tensor:
        """[P, vocab_size] float32 logits with each sequence's penalties applied.

        Repetition (Keskar et al., CTRL, 2019) looks at prompt and answer, presence and frequency (OpenAI) at the
        answer alone. Sequences of the last call that are not in this one are forgotten.
        """
        slots = torch.tensor(self._catch_up(sequences), device=self._device)
        params = [sequence.request.params for sequence in sequences]
        answer = self._in_answer[slots]
        seen = self._in_prompt[slots] | (answer > 0)
        repetition = logits.new_tensor([one.repetition_penalty for one in params]).unsqueeze(1)
        presence = logits.new_tensor([one.presence_penalty for one in params]).unsqueeze(1)
        frequency = logits.new_tensor([one.frequency_penalty for one in params]).unsqueeze(1)
        repeated = torch.where(logits > 0, logits / repetition, logits * repetition)
        return torch.where(seen, repeated, logits) - presence * (answer > 0) - frequency * answer

    def _catch_up(self, sequences: Sequence[RunningSequence]) -> list[int]:
        """The slot of each sequence, its counts made current."""
        self._forget_all_but(sequences)
        prompt: list[tuple[int, int]] = []
        answer: list[tuple[int, int]] = []
        for sequence in sequences:
            record = self._record(sequence)
            start, num_prompt = record.num_counted, sequence.num_prompt_tokens
            prompt += ((record.slot, token_id) for token_id in sequence.token_ids[start:num_prompt])
            answer += ((record.slot, token_id) for token_id in sequence.token_ids[max(start, num_prompt) :])
            record.num_counted = sequence.num_tokens
        if prompt:
            at = torch.tensor(prompt, device=self._device)
            self._in_prompt[at[:, 0], at[:, 1]] = True
        if answer:
            at = torch.tensor(answer, device=self._device)
            ones = torch.ones(len(answer), dtype=torch.int32, device=self._device)
            self._in_answer.index_put_((at[:, 0], at[:, 1]), ones, accumulate=True)
        return [self._records[sequence.sequence_id].slot for sequence in sequences]

    def _forget_all_but(self, sequences: Sequence[RunningSequence]) -> None:
        # By identity, not only by id: ids may be used again by another sequence.
        current = {sequence.sequence_id: sequence for sequence in sequences}
        gone = [i for i, record in self._records.items() if current.get(i) is not record.sequence]
        self._free += (self._records.pop(sequence_id).slot for sequence_id in gone)

    def _record(self, sequence: RunningSequence) -> _Record:
        record = self._records.get(sequence.sequence_id)
        if record is None:
            if not self._free:
                self._grow()
            record = self._records[sequence.sequence_id] = _Record(sequence, self._free.pop())
            self._in_prompt[record.slot] = False
            self._in_answer[record.slot] = 0
        return record

    def _grow(self) -> None:
        rows = self._in_prompt.shape[0]
        more = max(rows, 4)
        self._in_prompt = torch.cat([self._in_prompt, self._in_prompt.new_zeros(more, self._in_prompt.shape[1])])
        self._in_answer = torch.cat([self._in_answer, self._in_answer.new_zeros(more, self._in_answer.shape[1])])
        self._free += range(rows, rows + more)
