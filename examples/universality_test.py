"""Is there one fractal dimension of attention? The claim of 2.0295, tested on models that are here.

    python examples/universality_test.py [FOLDER ...]

Without folders it makes small models with random weights, so it runs anywhere. A folder holds a causal model and its
tokenizer, as `save_pretrained` leaves them; each is measured as it is and with random weights in its place, on prefixes
of one English text, at several lengths.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pydoc_data import topics

import numpy as np
from fractal_core import dimension
from fractal_core.analysis import AttentionMaps, capture, nulls, random_model, universality
from fractal_core.analysis.inference import auc, cohens_d, variance_shares

LENGTHS = (64, 100, 128, 250, 256)
TEXT = " ".join(topics.topics["class"].split())


def small_models() -> Iterator[tuple[str, object, object]]:
    """Three architectures with random weights, and random tokens in the place of text."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    width = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
             "vocab_size": 200, "max_position_embeddings": 512}  # fmt: skip
    gpt2 = transformers.GPT2Config(
        n_layer=3, n_head=4, n_embd=64, vocab_size=200, n_positions=512, bos_token_id=0, eos_token_id=1
    )
    made = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(gpt2),
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**width)),
        "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**width, num_key_value_heads=2)),
    }
    ids = torch.randint(2, 200, (1, max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    for name, make in made.items():
        torch.manual_seed(len(name))
        yield name, make().eval(), ids


def models_of(folders: list[str]) -> Iterator[tuple[str, object, object]]:
    """The models of folders, with the tokens of an English text."""
    from fractal_core.analysis import ModelLoader

    for folder in folders:
        model, tokenizer = ModelLoader().load_model(folder)
        ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
        yield folder.rstrip("/").rpartition("/")[2], model, ids


def heads(maps: AttentionMaps) -> Iterator[np.ndarray]:
    """Every head of every layer."""
    for layer in maps:
        yield from layer.weights


def main(folders: list[str]) -> None:
    """Measure, print, judge."""
    rng = np.random.default_rng(0)
    found = {
        name: [] for name in ("peer", "ours", "peer random", "ours random", "peer null", "ours null", "length", "model")
    }
    for name, model, ids in models_of(folders) if folders else small_models():
        other = random_model(model, seed=1)
        for n in (n for n in LENGTHS if n <= ids.shape[1]):
            for kind, net in (("", model), (" random", other)):
                maps = capture(net, {"input_ids": ids[:, :n]})
                found[f"peer{kind}"] += [universality.median_box_dimension(head) for head in heads(maps)]
                for layer in maps:
                    found[f"ours{kind}"] += dimension.renyi_dimension(layer.weights, layer.support).value.tolist()
                if kind:
                    continue
                for layer in maps:
                    shuffled = nulls.row_shuffled(layer.weights, layer.support, rng=rng)
                    found["peer null"] += [universality.median_box_dimension(head) for head in shuffled]
                    found["ours null"] += dimension.renyi_dimension(shuffled, layer.support).value.tolist()
                count = sum(layer.heads for layer in maps)
                found["length"] += [n] * count
                found["model"] += [name] * count
    lengths, models = found["length"], found["model"]
    print(f"{len(lengths)} heads: {', '.join(sorted(set(models)))}; lengths {sorted(set(lengths))}")
    print("\nthe peer's number, and that of the bare mask")
    for n in sorted(set(lengths)):
        values = np.array(found["peer"])[np.array(lengths) == n]
        print(f"  N = {n:4}: {values.mean():.4f} ± {values.std():.4f}   mask {universality.mask_dimension(n):.4f}")
    nearest = universality.nearest_lengths(range(8, 4097))[:3]
    print("nearest to 2.0295 of all masks up to 4096:", ", ".join(f"N = {n}: {value:.4f}" for n, value in nearest))
    for title, key in (("the peer's number", "peer"), ("information dimension on the support", "ours")):
        print(f"\n{title}")
        for share in variance_shares(found[key], {"length": lengths, "model": models}):
            print(f"  {share.factor:7} explains {share.alone:8.2%} alone, adds {share.added:8.2%}")
        for what in ("random", "null"):
            a, b = found[key], found[f"{key} {what}"]
            print(f"  against {what:7} AUC {auc(a, b):.3f}, d {cohens_d(a, b):+.2f}")
        print(
            universality.verdict(found[key], lengths, models, random=found[f"{key} random"], nulls=found[f"{key} null"])
        )


if __name__ == "__main__":
    main(sys.argv[1:])
