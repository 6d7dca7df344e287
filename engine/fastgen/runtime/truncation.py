"""top-k, top-p and min-p as one number per row: the least tempered logit that is kept.

A threshold and not a ranking: tokens with equal logits (bfloat16 makes many) are kept or dropped together,
so that the outcome does not depend on the order in which a sort happens to leave them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastgen.core.sampling_params import SamplingParams

_FIRST_LOOK_TOKENS = 1024
"""top-p sorts this many of the likeliest first; only rows whose nucleus is wider sort the vocabulary."""


def keep_threshold(tempered: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor | None:
    """[D, 1] thresholds for [D, vocab_size] tempered logits whose row maximum is 0, or None if all is kept.

    In order: the top_k likeliest; of those, renormalised, the smallest set that adds up to top_p
    (Holtzman et al., The Curious Case of Neural Text Degeneration, 2020); of those, the ones at least min_p
    times as likely as the likeliest (Nguyen et al., Min-p Sampling, 2024). The likeliest is always kept.
    """
    vocab_size = tempered.shape[1]
    has_top_k = [0 < one.top_k < vocab_size for one in params]
    has_top_p = [one.top_p < 1.0 for one in params]
    has_min_p = [one.min_p > 0.0 for one in params]
    if not (any(has_top_k) or any(has_top_p) or any(has_min_p)):
        return None
    threshold = torch.full_like(tempered[:, :1], -torch.inf)
    if any(has_top_k):
        rows = _rows(has_top_k, tempered)
        ks = torch.tensor([one.top_k for one in params if 0 < one.top_k < vocab_size], device=tempered.device)
        likeliest = tempered[rows].topk(int(max(ks.tolist())), dim=-1).values
        threshold[rows] = likeliest.gather(1, ks.unsqueeze(1) - 1)
    if any(has_top_p):
        rows = _rows(has_top_p, tempered)
        ps = torch.tensor([one.top_p for one in params if one.top_p < 1.0], dtype=torch.float64, device=tempered.device)
        kept = tempered[rows].masked_fill(tempered[rows] < threshold[rows], -torch.inf)
        threshold[rows] = torch.maximum(threshold[rows], _nucleus_threshold(kept, ps.unsqueeze(1)))
    if any(has_min_p):
        rows = _rows(has_min_p, tempered)
        threshold[rows] = torch.maximum(
            threshold[rows], tempered.new_tensor([one.min_p for one in params if one.min_p > 0.0]).log().unsqueeze(1)
        )
    return threshold


def _nucleus_threshold(tempered: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """[D, 1]: the last logit of the smallest set, likeliest first, whose probabilities add up to `top_p`."""
    log_total = tempered.exp().sum(dim=-1, keepdim=True, dtype=torch.float64).log()
    likeliest = tempered.topk(min(_FIRST_LOOK_TOKENS, tempered.shape[1]), dim=-1).values
    threshold, settled = _last_needed(likeliest, log_total, top_p)
    if settled.all() or likeliest.shape[1] == tempered.shape[1]:
        return threshold
    wide = ~settled
    ordered = tempered[wide].sort(dim=-1, descending=True).values
    threshold[wide], _ = _last_needed(ordered, log_total[wide], top_p[wide])
    return threshold


def _last_needed(
    ordered: torch.Tensor, log_total: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logit at which the running sum reaches `top_p` [D, 1], and whether it does within `ordered` [D]."""
    running = (ordered - log_total).exp().cumsum(dim=-1, dtype=torch.float64)
    num_short = (running < top_p).sum(dim=-1, keepdim=True)
    last = ordered.shape[1] - 1
    return ordered.gather(1, num_short.clamp(max=last)), (num_short <= last).squeeze(1)


def _rows(flags: Sequence[bool], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([row for row, flag in enumerate(flags) if flag], device=like.device)
