"""One rank of transformers' own tensor parallelism; started by ``bench_tp`` with torchrun."""

from __future__ import annotations

import statistics
import sys
import time
import warnings

from tests.benchmarks.bench_tp import PROMPT


def main() -> None:
    """Decode some tokens; rank 0 prints the tokens per second."""
    import torch
    import torch.distributed as dist
    from transformers import AutoModelForCausalLM, DynamicCache

    warnings.simplefilter("ignore")
    model_dir, tokens, dtype = sys.argv[1], int(sys.argv[2]), getattr(torch, sys.argv[3])
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, tp_plan="auto")
    cache = DynamicCache(config=model.config)

    def feed(ids: list[int]) -> None:
        output = model(torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = output.logits
        logits = logits.full_tensor() if hasattr(logits, "full_tensor") else logits
        logits[0, -1].argmax().item()

    with torch.inference_mode():
        feed(list(PROMPT))
        feed([500])
        step_s = []
        for number in range(tokens):
            started = time.perf_counter()
            feed([501 + number])
            step_s.append(time.perf_counter() - started)
    if dist.get_rank() == 0:
        print(1 / statistics.median(step_s))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
