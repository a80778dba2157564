"""The geometry of real models' attention at several lengths, beside nulls: docs/zoo.md and its data.

    python examples/model_zoo.py NAME=FOLDER [NAME=FOLDER ...]

Each folder holds a model, with its tokenizer if it reads text. Of models of text one English text, Python's own
reference on classes, is cut to each length. A vision transformer sees one photograph (scikit-learn's china.jpg) with
about as many patches. Whisper's encoder hears as much of one conversation (the sample in pyannote-audio).
"""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from pydoc_data import topics

import numpy as np
from fractal_core.analysis import AttentionMaps, FractalAttentionAnalyzer, Table, capture, measure, nulls, write_table
from fractal_core.analysis.inference import auc
from fractal_core.dimension import renyi_dimension

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (64, 128, 256, 512)
SIDES = (112, 154, 224, 308)
MEASURES = ("D0", "D1", "D2", "normalized_entropy", "gini", "sink", "previous", "distance")
TEXT = " ".join(topics.topics["class"].split()) + " " + " ".join(topics.topics["objects"].split())


def null_dimensions(maps: AttentionMaps, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """D1 of every head's row shuffle, and of its entropy-matched random softmax."""
    found: dict[str, list[np.ndarray]] = {"shuffled": [], "entropy": []}
    for layer in maps:
        for name, make in (("shuffled", nulls.row_shuffled), ("entropy", nulls.entropy_matched)):
            found[name].append(renyi_dimension(make(layer.weights, layer.support, rng=rng), layer.support).value)
    return {name: np.concatenate(values) for name, values in found.items()}


def of_text(folder: str) -> Iterator[AttentionMaps]:
    """Attention to prefixes of the text."""
    analyzer = FractalAttentionAnalyzer(folder)
    most = getattr(analyzer.model.config, "max_position_embeddings", 512)
    for n in (n for n in LENGTHS if n <= most):
        maps = analyzer.maps(TEXT, max_tokens=n)
        if maps.layers[0].shape[0] < n:
            return
        yield maps


def picture(side: int):
    """The middle of the photograph, (1, 3, side, side), float32, scaled by ImageNet's means and deviations."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    whole = Image.fromarray(load_sample_image("china.jpg"))
    low, edge = (whole.width - whole.height) // 2, whole.height
    square = whole.crop((low, 0, low + edge, edge)).resize((side, side), Image.Resampling.BICUBIC)
    colours = (np.asarray(square, np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(colours.transpose(2, 0, 1)[None], np.float32)


def of_picture(folder: str) -> Iterator[AttentionMaps]:
    """Attention to the photograph at several sizes: a class token, and patches of 14 by 14 pixels in raster order."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    for side in SIDES:
        yield capture(model, {"pixel_values": torch.from_numpy(picture(side))})


def speech():
    """The conversation: 30 seconds at 16 kHz, float32 in -1 .. 1."""
    package = find_spec("pyannote.audio")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pyannote-audio, which holds the sample, is not installed: make test-models does it")
    with wave.open(str(Path(package.origin).parent / "sample" / "sample.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 2**15


def of_speech(folder: str) -> Iterator[AttentionMaps]:
    """Attention of the encoder, 20 ms a token: from second 8 on, where both talk, and to all 30 seconds."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperModel

    encoder = WhisperModel.from_pretrained(folder).get_encoder()
    heard = WhisperFeatureExtractor.from_pretrained(folder)(speech(), sampling_rate=16_000, return_tensors="pt")
    places = encoder.embed_positions.weight.detach()
    for n in (*LENGTHS, len(places)):
        # An encoder of fewer places is the same one, with the first of them.
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(places[:n])
        encoder.config.max_source_positions = encoder.max_source_positions = n
        first = 0 if n == len(places) else 800
        yield capture(encoder, {"input_features": heard["input_features"][:, :, first : first + 2 * n]})


def measured(name: str, folder: str) -> Iterator[tuple[Table, dict[str, object]]]:
    """For each length the table of all heads, and a line of the page."""
    kind = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["model_type"]
    rng = np.random.default_rng(0)
    for maps in {"dinov2": of_picture, "whisper": of_speech}.get(kind, of_text)(folder):
        n = maps.layers[0].shape[0]
        table = measure(maps, MEASURES)
        drawn = null_dimensions(maps, rng)
        d1 = table.where(measure="D1")["value"]
        line: dict[str, object] = {"model": name, "tokens": n, "heads": len(d1)}
        for measure_ in ("D1", "normalized_entropy", "sink", "distance"):
            values = table.where(measure=measure_)["value"]
            line[measure_] = f"{np.nanmean(values):.3f} ± {np.nanstd(values):.3f}"
        baseline = table.where(measure="D1")["baseline"]
        line |= {
            "uniform": f"{baseline.mean():.3f}",
            "AUC, rows shuffled": f"{auc(d1, drawn['shuffled']):.3f}",
            "AUC, entropy matched": f"{auc(d1, drawn['entropy']):.3f}",
        }
        extra = {"model": np.full(len(table), name), "tokens": np.full(len(table), n)}
        yield Table({**extra, **table.columns}), line


def main(models: list[str]) -> None:
    """Measure, write the data and the page."""
    tables: list[Table] = []
    lines: list[dict[str, object]] = []
    for spec in models:
        name, _, folder = spec.partition("=")
        for table, line in measured(name, folder):
            tables.append(table)
            lines.append(line)
            print(line)
    joined = Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0].columns})
    kept = ("model", "tokens", "name", "kind", "head", "measure", "value", "stderr", "spread", "baseline", "reliable")
    data = ROOT / "docs" / "data"
    data.mkdir(exist_ok=True)
    write_table(Table({name: joined[name] for name in kept}), data / "zoo-1.npz", "npz")
    columns = list(lines[0])
    page = [
        "# Real models\n",
        "Attention of models that come in packages (`make test-models` makes their folders), by",
        "`python examples/model_zoo.py`. Models of text read prefixes of one English text. DINOv2, a vision",
        "transformer, sees one photograph at 8, 11, 16 and 22 patches a side, in raster order behind a class token.",
        "The encoder of Whisper hears one conversation, 20 ms a token, from its eighth second on, and all of its 30",
        "seconds; an encoder for fewer tokens has the first of its 1500 positions and is otherwise the same.\n",
        "Means and standard deviations are over all heads. `uniform` is what attention that is even over its support",
        "shows: D1 of heads is to be read beside it. `sink` is the share of the first token, DINOv2's class token.",
        "An AUC of 0.5 says that a head's D1 is that of the null; the row shuffle keeps every row's weights, the other",
        "null its entropy alone.",
        "Every head, measure and length is in [data/zoo-1.npz](data/zoo-1.npz), schema 1: columns as arrays.\n",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(str(line[name]) for name in columns)} |" for line in lines),
    ]
    (ROOT / "docs" / "zoo.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
