"""Where sequences are that feed one token each."""

from __future__ import annotations

from typing import final

import torch

from neuron_runtime.torch_backend.attention.rules import hidden_places


@final
class DecodePlaces:
    """Computed from tensors on the device alone; see ``DecodeAttention``.

    Args:
        positions: long [rows], where each row's token is.
        tables: long [rows, blocks], each row's own. Entries that a row does not reach may be any
            block, whose content it does not see.
        block_tokens: How many tokens a block holds.
    """

    def __init__(self, positions: torch.Tensor, tables: torch.Tensor, block_tokens: int) -> None:
        self._positions, self._tables, self._block_tokens = positions, tables, block_tokens
        self._seen: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def homes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the block that each row's keys and values go into, and where in it."""
        column = self._positions // self._block_tokens
        blocks = self._tables.gather(1, column[:, None])[:, 0]
        return blocks, self._positions % self._block_tokens

    def seen(self, window: int, kv_heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which blocks rows look at, and what they see of these.

        Blocks are long [rows, kv heads, blocks], numbers of the cache's blocks times ``kv_heads``.
        Of a ``window`` only those are there that it can reach. What is seen is float32 [rows,
        positions], see ``AttentionRules.weigh_biased``.
        """
        found = self._seen.get((window, kv_heads))
        if found is None:
            tables, positions = self._within(window)
            heads = torch.arange(kv_heads, device=tables.device)
            pages = tables[:, None] * kv_heads + heads[:, None]
            hidden = hidden_places(tables.shape[1] * self._block_tokens, positions, window)
            nothing = torch.zeros(hidden.shape, dtype=torch.float32, device=tables.device)
            found = pages, nothing.masked_fill_(hidden, -torch.inf)
            self._seen[window, kv_heads] = found
        return found

    def _within(self, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, tables, width = self._block_tokens, self._tables, self._tables.shape[1]
        # So many blocks a window touches if its first token is the last of one.
        most = (window + tokens - 2) // tokens + 1
        if not window or most >= width:
            return tables, self._positions
        first = (self._positions - (window - 1)).clamp_(min=0) // tokens
        columns = first[:, None] + torch.arange(most, device=tables.device)
        # What is beyond the last block is after the row, so it is not seen, whatever is there.
        return tables.gather(1, columns.clamp_(max=width - 1)), self._positions - first * tokens
