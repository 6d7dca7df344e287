"""The batched sampler against a slow and obvious one, row by row in numpy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgen.core.plan import Sample
from fastgen.core.sampling_params import SamplingParams
from fastgen.core.sequence import RunningSequence, SequenceRequest
from fastgen.runtime.sampler import Sampler, uniform

Floats = npt.NDArray[Any]
VOCAB = 24
CPU = torch.device("cpu")


def sequence(
    params: SamplingParams,
    *,
    prompt: tuple[int, ...] = (1, 2),
    answer: tuple[int, ...] = (),
    seed: int = 0,
    sequence_id: int = 0,
    eos: tuple[int, ...] = (),
) -> RunningSequence:
    request = SequenceRequest(sequence_id, prompt, params, seed, eos)
    return RunningSequence(request, 0.0, 1000, token_ids=[*prompt, *answer])


def oracle_distribution(logits: Floats, seq: RunningSequence) -> Floats:
    """[vocab] float64 probabilities, every rule written out one token at a time."""
    params = seq.request.params
    answer = seq.token_ids[seq.num_prompt_tokens :]
    scores = [float(x) for x in logits.astype(np.float64)]
    for token in range(len(scores)):
        if token in seq.token_ids:
            penalty = params.repetition_penalty
            scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
        if token in answer:
            scores[token] -= params.presence_penalty + params.frequency_penalty * answer.count(token)
        ends = token in params.stop_token_ids or (not params.ignore_eos and token in seq.request.eos_token_ids)
        if ends and len(answer) < params.min_new_tokens:
            scores[token] = -math.inf
    if params.temperature == 0:
        best = max(range(len(scores)), key=lambda token: scores[token])
        return np.asarray(np.eye(len(scores))[best])
    weights = [math.exp((s - max(scores)) / params.temperature) for s in scores]
    order = sorted(range(len(scores)), key=lambda token: -weights[token])
    if params.top_k:
        order = order[: params.top_k]
    total = sum(weights[token] for token in order)
    kept: list[int] = []
    for token in order:
        if kept and sum(weights[t] for t in kept) / total >= params.top_p:
            break
        kept.append(token)
    kept = [t for t in kept if weights[t] >= params.min_p * max(weights)]
    out = np.zeros(len(scores))
    out[kept] = [weights[t] for t in kept]
    return np.asarray(out / out.sum())


def oracle_token(logits: Floats, seq: RunningSequence) -> int:
    cumulative = np.cumsum(oracle_distribution(logits, seq))
    return int(np.argmax(cumulative > uniform(seq.request.seed, seq.num_tokens) * cumulative[-1]))


PARAMS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 3, 10, 100]),
    top_p=st.sampled_from([1.0, 0.9, 0.5, 0.05]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    presence_penalty=st.sampled_from([0.0, 0.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    min_new_tokens=st.sampled_from([0, 3]),
    stop_token_ids=st.sampled_from([(), (4, 5, 9999, -3)]),
    ignore_eos=st.booleans(),
)
TOKENS = st.lists(st.integers(0, VOCAB - 1), max_size=8).map(tuple)
SEQUENCE = st.tuples(PARAMS, TOKENS.filter(bool), TOKENS, st.integers(0, 2**63 - 1))


@given(rows=st.lists(SEQUENCE, min_size=1, max_size=6), noise=st.integers(0, 2**31), padding=st.sampled_from([0, 8]))
@settings(max_examples=300, deadline=None)
def test_every_row_is_what_the_obvious_sampler_says(rows: list[Any], noise: int, padding: int) -> None:
    logits = torch.randn(len(rows), VOCAB + padding, generator=torch.Generator().manual_seed(noise)) * 3
    logits[:, VOCAB:] = 1e9
    before = logits.clone()
    sequences = [
        sequence(params, prompt=prompt, answer=answer, seed=seed, sequence_id=i, eos=(7,))
        for i, (params, prompt, answer, seed) in enumerate(rows)
    ]
    got = Sampler(VOCAB, CPU).sample(logits, sequences)
    assert torch.equal(logits, before), "the caller's logits changed"
    assert [s.sequence_id for s in got] == list(range(len(rows)))
    for row, (seq, one) in enumerate(zip(sequences, got, strict=True)):
        chances = oracle_distribution(logits[row, :VOCAB].numpy(), seq)
        # float32 penalties against float64 ones may move the edge of a set; the token must be at least possible.
        if seq.request.params.repetition_penalty == 1.0 and seq.request.params.frequency_penalty == 0.0:
            assert one.token_id == oracle_token(logits[row, :VOCAB].numpy(), seq)
        else:
            assert chances[one.token_id] > 0


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.6, top_k=8),
        SamplingParams(top_p=0.8),
        SamplingParams(min_p=0.2, temperature=1.5),
        SamplingParams(repetition_penalty=1.4, presence_penalty=0.5, frequency_penalty=0.3),
    ],
    ids=["plain", "top_k", "top_p", "min_p", "penalties"],
)
def test_frequencies_follow_the_distribution(params: SamplingParams) -> None:
    """Chi-square over 20000 draws with fixed seeds, at a level that a right sampler fails once in 10^5."""
    draws = 20_000
    logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(11)) * 1.5
    sequences = [sequence(params, answer=(3, 3, 5), seed=seed, sequence_id=seed) for seed in range(draws)]
    got = Sampler(VOCAB, CPU).sample(logits.expand(draws, -1), sequences)
    counts = np.bincount([one.token_id for one in got], minlength=VOCAB)
    expected = oracle_distribution(logits[0].numpy(), sequences[0]) * draws
    assert counts[expected == 0].sum() == 0
    likely = expected >= 5
    chi_square = float((((counts - expected) ** 2)[likely] / expected[likely]).sum())
    freedom = max(int(likely.sum()) - 1, 1)
    # Wilson and Hilferty: the cube root of chi-square / freedom is nearly normal.
    spread = 2 / (9 * freedom)
    assert ((chi_square / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) < 4.3


def test_positions_and_neighbouring_seeds_are_independent() -> None:
    table = np.array([[uniform(seed, position) for position in range(200)] for seed in range(200)])
    assert abs(table.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]) < 0.02
    assert len(np.unique(table)) == table.size


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """Alone, in a batch, in another order, in another sampler: the same tokens."""
    mixed = [
        SamplingParams(seed=1),
        SamplingParams(temperature=0),
        SamplingParams(top_k=3, top_p=0.9),
        SamplingParams(repetition_penalty=1.2, min_p=0.1, logprobs=2),
        SamplingParams(temperature=0.4, top_p=0.3, min_new_tokens=4, stop_token_ids=(2,)),
    ] * 3
    logits = torch.randn(len(mixed), VOCAB, generator=torch.Generator().manual_seed(3)).bfloat16()
    sequences = [sequence(p, answer=(4, 4), seed=40 + i, sequence_id=i) for i, p in enumerate(mixed)]
    together = Sampler(VOCAB, CPU).sample(logits, sequences)
    alone = [Sampler(VOCAB, CPU).sample(logits[i : i + 1], [s])[0] for i, s in enumerate(sequences)]
    order = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(4)).tolist()
    shuffled = Sampler(VOCAB, CPU).sample(logits[order], [sequences[i] for i in order])
    assert [one.token_id for one in together] == [one.token_id for one in alone]
    assert [together[i].token_id for i in order] == [one.token_id for one in shuffled]


def test_ties_at_the_edge_are_kept_together() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0, -1.0]])
    for params in (SamplingParams(top_k=2), SamplingParams(top_p=0.5)):
        tokens = {
            Sampler(6, CPU).sample(logits, [sequence(params, prompt=(0,), seed=seed)])[0].token_id
            for seed in range(200)
        }
        assert tokens == {1, 2, 3, 4}


def test_a_nucleus_wider_than_the_first_look() -> None:
    vocab = 5000
    logits = torch.linspace(0.001, 0, vocab).unsqueeze(0)
    params = SamplingParams(top_p=0.5)
    tokens = [Sampler(vocab, CPU).sample(logits, [sequence(params, seed=seed)])[0].token_id for seed in range(300)]
    assert max(tokens) < vocab * 0.5
    assert max(tokens) > 2000


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 100.0])
def test_extreme_temperatures_do_not_overflow(temperature: float) -> None:
    logits = torch.tensor([[-3e4, 3e4, 0.0, 1.0]])
    got = Sampler(4, CPU).sample(logits, [sequence(SamplingParams(temperature=temperature), prompt=(0,))])
    assert got[0].token_id == 1


def test_counts_follow_a_sequence_through_steps_pauses_and_reused_ids() -> None:
    """Penalties decided step by step equal those decided from scratch, whatever happened in between."""
    params = SamplingParams(temperature=0, repetition_penalty=1.5, presence_penalty=0.3, frequency_penalty=0.7)
    sampler = Sampler(VOCAB, CPU)
    noise = torch.Generator().manual_seed(5)
    live = [sequence(params, prompt=(i, i + 1), sequence_id=i) for i in range(6)]
    for step in range(60):
        if step % 20 == 19:  # An id comes back as another sequence.
            live[0] = sequence(params, prompt=(9, 9, 10), sequence_id=0)
        batch = [s for s in live if (s.sequence_id + step) % 4]  # Each pauses every fourth step.
        logits = torch.randn(len(batch), VOCAB, generator=noise)
        got = sampler.sample(logits, batch)
        assert got == [Sampler(VOCAB, CPU).sample(logits[i : i + 1], [s])[0] for i, s in enumerate(batch)]
        for one, seq in zip(got, batch, strict=True):
            assert one.token_id == oracle_token(logits[batch.index(seq)].numpy(), seq)
            seq.token_ids.append(one.token_id)


def test_logprobs_are_of_the_models_own_distribution() -> None:
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(6)).bfloat16()
    shaped = SamplingParams(temperature=0.2, top_k=2, repetition_penalty=1.9, logprobs=4)
    plain = SamplingParams(temperature=0)
    params = [shaped, plain, replace(plain, logprobs=0)]
    got = Sampler(VOCAB, CPU).sample(logits, [sequence(p, sequence_id=i) for i, p in enumerate(params)])
    expected = logits.float().log_softmax(-1)
    assert got[0].logprob == pytest.approx(float(expected[0, got[0].token_id]))
    best = expected[0].topk(4)
    assert [t for t, _ in got[0].top_logprobs] == best.indices.tolist()
    assert [v for _, v in got[0].top_logprobs] == pytest.approx(best.values.tolist())
    assert got[1] == Sample(1, int(logits[1].argmax()))
    assert got[2].logprob == pytest.approx(float(expected[2].max()))
    assert got[2].top_logprobs == ()


def test_more_logprobs_than_vocabulary() -> None:
    got = Sampler(4, CPU).sample(torch.zeros(1, 4), [sequence(SamplingParams(logprobs=20), prompt=(0,))])
    assert len(got[0].top_logprobs) == 4


def test_banning_every_token_still_ends_in_a_token() -> None:
    params = SamplingParams(min_new_tokens=2, stop_token_ids=tuple(range(4)))
    assert Sampler(4, CPU).sample(torch.zeros(1, 4), [sequence(params, prompt=(0,))])[0].token_id in range(4)


@pytest.mark.gpu
@pytest.mark.parametrize("vocab", [512, 32_000])
def test_the_gpu_draws_what_the_cpu_draws(vocab: int) -> None:
    """The same logits, seeds and positions give the same tokens on every device."""
    params = [
        SamplingParams(),
        SamplingParams(temperature=0),
        SamplingParams(top_k=40, temperature=0.7),
        SamplingParams(top_p=0.9),
        SamplingParams(min_p=0.05, repetition_penalty=1.3, presence_penalty=0.4, logprobs=3),
        SamplingParams(min_new_tokens=9, stop_token_ids=tuple(range(100))),
    ] * 20
    logits = torch.randn(len(params), vocab, generator=torch.Generator().manual_seed(8)) * 2
    sequences = [sequence(p, answer=(4, 4, 8), seed=i, sequence_id=i) for i, p in enumerate(params)]
    device = torch.device("cuda")
    here = Sampler(vocab, CPU).sample(logits, sequences)
    there = Sampler(vocab, device).sample(logits.to(device), sequences)
    # exp differs in the last bit between the two: at most one draw in 120 may lie that close to an edge.
    assert sum(a.token_id != b.token_id for a, b in zip(here, there, strict=True)) <= 1
    for a, b in zip(here, there, strict=True):
        assert (a.logprob is None) == (b.logprob is None)
        assert [v for _, v in a.top_logprobs] == pytest.approx([v for _, v in b.top_logprobs], abs=1e-4)
