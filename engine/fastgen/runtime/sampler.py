"""The next token of every row of a batch, chosen on the device.

    logits ─► penalties ─► min tokens ─┬─► argmax                                   (temperature 0)
                                       └─► temperature ─► top-k ─► top-p ─► min-p ─► inverse CDF

The token at position p of a sequence is a function of its logits, its seed and p alone: one uniform number
hashed from (seed, p), looked up in the cumulative distribution in the order of the vocabulary. So neither
the other rows, nor how a prompt was cut, nor a preemption can change it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastgen.core.plan import Sample
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sequence import RunningSequence
from fastgen.runtime.token_counts import TokenCounts
from fastgen.runtime.truncation import keep_threshold

_MASK64 = 2**64 - 1
_MAX_FACTOR = 3e38
"""The largest inverse temperature that float32 holds."""
_CACHED_LOGITS = 2**17
_GOLDEN = 0x9E3779B97F4A7C15


class Sampler:
    """Samples batches for one model. Holds nothing but the token counts of sequences with penalties."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self.vocab_size = vocab_size
        self.device = device
        self._counts = TokenCounts(vocab_size, device)
        # A CPU is three times as fast where a block's temporaries stay in its cache; a GPU wants all rows at once.
        self._rows_at_once = max(1, _CACHED_LOGITS // vocab_size) if device.type == "cpu" else 1 << 20

    def sample(self, logits: torch.Tensor, sequences: Sequence[RunningSequence]) -> list[Sample]:
        """One sample per row.

        `logits` is [R, at least vocab_size] of any float dtype, row r for `sequences[r]`, and is left as it is;
        columns past the vocabulary are padding, never chosen.
        """
        raw = logits[:, : self.vocab_size]
        params = [sequence.request.params for sequence in sequences]
        shaped = self._shape(raw, sequences, params)
        tokens = shaped.argmax(dim=-1)
        drawn = [row for row, one in enumerate(params) if not one.is_greedy]
        if drawn:
            for start in range(0, len(drawn), self._rows_at_once):
                block = drawn[start : start + self._rows_at_once]
                rows = torch.tensor(block, device=self.device)
                tokens[rows] = self._draw(shaped[rows], [sequences[row] for row in block])
        token_ids: list[int] = tokens.tolist()
        samples = [Sample(s.sequence_id, token_id) for s, token_id in zip(sequences, token_ids, strict=True)]
        wanted = [row for row, one in enumerate(params) if one.logprobs is not None]
        return self._with_logprobs(samples, raw, tokens, wanted, params) if wanted else samples

    def _shape(
        self, raw: torch.Tensor, sequences: Sequence[RunningSequence], params: Sequence[SamplingParams]
    ) -> torch.Tensor:
        """[R, vocab_size]: penalties and banned tokens applied to a copy, or `raw` itself if there are none."""
        penalised = [row for row, one in enumerate(params) if _has_penalties(one)]
        banned = [
            (row, token_id)
            for row, sequence in enumerate(sequences)
            if sequence.num_generated_tokens < params[row].min_new_tokens
            for token_id in _ending_tokens(sequence)
            if 0 <= token_id < self.vocab_size
        ]
        if not penalised and not banned:
            return raw
        shaped = raw.to(torch.float32, copy=True)
        if penalised:
            rows = torch.tensor(penalised, device=self.device)
            histories = [sequences[row] for row in penalised]
            shaped[rows] = self._counts.penalise(shaped[rows], histories)
        if banned:
            at = torch.tensor(banned, device=self.device)
            shaped[at[:, 0], at[:, 1]] = -torch.inf
        return shaped

    def _draw(self, logits: torch.Tensor, sequences: Sequence[RunningSequence]) -> torch.Tensor:
        """[D] token ids drawn from [D, vocab_size] logits: float32 weights, summed in float64."""
        params = [sequence.request.params for sequence in sequences]
        uniforms = [uniform(sequence.request.seed, sequence.num_tokens) for sequence in sequences]
        # The maximum goes first and the factor stays finite, so that no temperature, however small, overflows.
        factors = self._column([min(1 / max(one.temperature, 1e-300), _MAX_FACTOR) for one in params])
        logits = logits.float()
        tempered = (logits - logits.amax(dim=-1, keepdim=True)).mul_(factors.float())
        threshold = keep_threshold(tempered, params)
        if threshold is not None:
            tempered.masked_fill_(tempered < threshold, -torch.inf)
        weights = tempered.exp_()
        cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
        target = self._column(uniforms) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, target, right=True).clamp_(max=self.vocab_size - 1)
        # A parallel scan may round a plateau upwards; a token without weight is never drawn for that.
        has_weight = weights.gather(1, tokens) > 0
        return torch.where(has_weight, tokens, weights.argmax(dim=-1, keepdim=True)).squeeze(1)

    def _with_logprobs(
        self,
        samples: list[Sample],
        raw: torch.Tensor,
        tokens: torch.Tensor,
        wanted: list[int],
        params: Sequence[SamplingParams],
    ) -> list[Sample]:
        """Log-probabilities of the model's own distribution, before penalties and temperature."""
        rows = torch.tensor(wanted, device=self.device)
        logprobs = raw[rows].float().log_softmax(dim=-1)
        chosen: list[float] = logprobs.gather(1, tokens[rows, None]).squeeze(1).tolist()
        most = min(max(params[row].logprobs or 0 for row in wanted), self.vocab_size)
        values, ids = logprobs.topk(most, dim=-1)
        likeliest = zip(ids.tolist(), values.tolist(), strict=True)
        for row, logprob, (top_ids, top_values) in zip(wanted, chosen, likeliest, strict=True):
            top = tuple(zip(top_ids, top_values, strict=True))[: params[row].logprobs]
            samples[row] = samples[row]._replace(logprob=logprob, top_logprobs=top)
        return samples

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device).unsqueeze(1)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits, hashed from a seed and a position.

    SplitMix64's finalizer twice (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014),
    so that neighbouring seeds, as those of the choices of one request, have nothing in common.
    """
    return (_mix64(_mix64(seed) + position) >> 11) * 2.0**-53


def _mix64(value: int) -> int:
    mixed = (value + _GOLDEN) & _MASK64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK64
    return mixed ^ (mixed >> 31)


def _has_penalties(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0


def _ending_tokens(sequence: RunningSequence) -> tuple[int, ...]:
    """Tokens that would end this sequence."""
    params = sequence.request.params
    return params.stop_token_ids if params.ignore_eos else params.stop_token_ids + sequence.request.eos_token_ids
