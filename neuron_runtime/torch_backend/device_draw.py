"""Draws tokens from all rows of scores at once, on the device that holds them.

The rules are those of ``host_draw``; nothing waits for the device before the last line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from neuron_runtime.torch_backend.draw_request import DrawRequest
from neuron_runtime.torch_backend.moved import moved

_Counted = tuple[int, NDArray[np.int64], NDArray[np.int64]]
_Numbered = Sequence[tuple[int, DrawRequest]]


def draw_rows(scores: torch.Tensor, requests: Sequence[DrawRequest]) -> list[int]:
    """Return a token for each row of float32 scores, (requests, vocabulary), which may be changed.

    Where a row's scores are no numbers, or all minus infinity, it is the best of them.
    """
    _adjust(scores, requests)
    best = scores.argmax(-1)
    drawn = [row for row, each in enumerate(requests) if not each.is_greedy]
    if drawn:
        rows = moved(torch.tensor(drawn), scores.device)
        tokens = _draw(scores[rows], [requests[row] for row in drawn])
        best[rows] = torch.where(tokens < scores.shape[1], tokens, best[rows])
    found: list[int] = best.tolist()
    return found


def _adjust(scores: torch.Tensor, requests: Sequence[DrawRequest]) -> None:
    rows = list(enumerate(requests))
    masks = [(row, each.mask) for row, each in rows if each.mask is not None]
    if masks:
        _forbid(scores, masks)
    biased = [each for each in rows if each[1].params.logit_bias]
    if biased:
        _add_bias(scores, biased)
    repeated = [each for each in rows if each[1].params.repetition_penalty != 1.0]
    if repeated:
        _penalise_repetition(scores, repeated)
    counted = [
        each for each in rows if each[1].params.frequency_penalty or each[1].params.presence_penalty
    ]
    if counted:
        _penalise_output(scores, counted)


def _forbid(scores: torch.Tensor, masks: Sequence[tuple[int, bytes]]) -> None:
    frame = np.frombuffer(b"".join(mask for _, mask in masks), dtype=np.uint8)
    packed = moved(torch.from_numpy(frame.reshape(len(masks), -1, 1).copy()), scores.device)
    places = torch.arange(8, dtype=torch.uint8, device=scores.device)
    forbidden = ((packed >> places & 1) == 0).flatten(1)[:, : scores.shape[1]]
    missing = scores.shape[1] - forbidden.shape[1]
    if missing:
        forbidden = torch.nn.functional.pad(forbidden, (0, missing), value=True)
    rows = moved(torch.tensor([row for row, _ in masks]), scores.device)
    scores[rows] = scores[rows].masked_fill_(forbidden, -torch.inf)


def _add_bias(scores: torch.Tensor, biased: _Numbered) -> None:
    entries = [
        (row, token, bias)
        for row, each in biased
        for token, bias in each.params.logit_bias
        if 0 <= token < scores.shape[1]
    ]
    if entries:
        rows, tokens, biases = (torch.tensor(column) for column in zip(*entries, strict=True))
        place = (moved(rows, scores.device), moved(tokens, scores.device))
        scores.index_put_(place, moved(biases, scores.device).to(scores), accumulate=True)


def _penalise_repetition(scores: torch.Tensor, repeated: _Numbered) -> None:
    counted = [_counted(row, each.known) for row, each in repeated]
    place = _place(counted, scores.device)
    penalty = _spread(counted, (each.params.repetition_penalty for _, each in repeated), scores)
    old = scores[place]
    scores[place] = torch.where(old > 0, old / penalty, old * penalty)


def _penalise_output(scores: torch.Tensor, penalised: _Numbered) -> None:
    counted = [_counted(row, each.output) for row, each in penalised]
    params = [each.params for _, each in penalised]
    times = torch.from_numpy(np.concatenate([counts for _, _, counts in counted]))
    times = moved(times, scores.device).to(scores)
    less = times * _spread(counted, (each.frequency_penalty for each in params), scores)
    less += _spread(counted, (each.presence_penalty for each in params), scores)
    scores[_place(counted, scores.device)] -= less


def _counted(row: int, tokens: Sequence[int]) -> _Counted:
    """Return the row, the different tokens, and how often each of them comes."""
    ids, counts = np.unique(np.asarray(tokens, dtype=np.int64), return_counts=True)
    return row, ids, counts


def _place(counted: Sequence[_Counted], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where in the scores these tokens are: rows and columns."""
    rows = np.concatenate([np.full(len(ids), row) for row, ids, _ in counted])
    columns = np.concatenate([ids for _, ids, _ in counted])
    return moved(torch.from_numpy(rows), device), moved(torch.from_numpy(columns), device)


def _spread(
    counted: Sequence[_Counted], values: Iterable[float], like: torch.Tensor
) -> torch.Tensor:
    """Return each row's value once for each of its tokens."""
    rows = zip(counted, values, strict=True)
    return torch.cat([like.new_full((len(ids),), value) for (_, ids, _), value in rows])


def _draw(scores: torch.Tensor, requests: Sequence[DrawRequest]) -> torch.Tensor:
    """Return a token for each row; one past the vocabulary where the scores are no numbers."""
    vocabulary = scores.shape[1]
    temperature, min_p, top_p, top_k, share = _table(requests, scores)
    mass = torch.softmax(scores / temperature.float()[:, None], dim=-1)
    floors = (mass.amax(-1) * min_p.float()).to(mass.dtype)
    if any(each.limit(vocabulary) or each.params.top_p < 1 for each in requests):
        floors = _raised(floors, mass.sort(descending=True).values, top_k.long(), top_p)
    mass.masked_fill_(mass < floors[:, None], 0.0)
    if len(mass) == 1:
        # A single row would go through another kernel, whose sums are rounded differently.
        mass = mass.expand(2, -1)
    sums = mass.cumsum(-1, dtype=torch.float64)[: len(requests)]
    total = sums[:, -1]
    # Rounding must not move the target past the last token that has any mass.
    target = torch.minimum(share * total, torch.nextafter(total, torch.zeros_like(total)))
    tokens = torch.searchsorted(sums, target[:, None], right=True)[:, 0]
    return torch.where(total.isnan(), vocabulary, tokens)


def _raised(
    floors: torch.Tensor, best: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Return the floors with top_k and top_p; ``best`` are the masses, the largest first."""
    worst = best.gather(1, (top_k - 1).clamp_(min=0)[:, None])[:, 0]
    floors = torch.where(top_k > 0, torch.maximum(floors, worst), floors)
    sums = torch.where(best >= floors[:, None], best, 0.0).cumsum(-1, dtype=torch.float64)
    wanted = top_p * torch.where(floors > 0, sums[:, -1], 1.0)
    last = (sums < wanted[:, None]).sum(-1, keepdim=True).clamp_(max=best.shape[1] - 1)
    least = torch.maximum(floors, best.gather(1, last)[:, 0])
    return torch.where(top_p < 1, least, floors)


def _table(requests: Sequence[DrawRequest], scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return temperatures, min_p, top_p, top_k and uniform numbers, moved in one piece."""
    rows = [
        (
            each.temperature,
            each.params.min_p,
            each.params.top_p,
            each.limit(scores.shape[1]),
            each.uniform(),
        )
        for each in requests
    ]
    return moved(torch.tensor(rows, dtype=torch.float64), scores.device).unbind(1)
