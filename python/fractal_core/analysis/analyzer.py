"""Analysis of a model by name, folder or as it lives, under the names of Fractal-Attention Analysis."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np

from fractal_core._arguments import flag, integer
from fractal_core.analysis.export import write_results
from fractal_core.analysis.loading import DeviceManager, ModelLoader
from fractal_core.analysis.maps import AttentionMaps, LayerMaps, place
from fractal_core.analysis.measures import measure
from fractal_core.analysis.metrics import AttentionMetrics
from fractal_core.analysis.models import capture
from fractal_core.analysis.shuffles import shuffle_test
from fractal_core.analysis.transforms import FractalTransforms, as_dict
from fractal_core.analysis.visualizer import AttentionVisualizer
from fractal_core.dimension import renyi_dimension
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fractal_core.analysis.export import Format
    from fractal_core.analysis.table import Table

__all__ = ["BatchResults", "FractalAttentionAnalyzer"]


class BatchResults(list[dict[str, Any]]):
    """Results of several texts, in order."""

    @property
    def aggregate(self) -> dict[str, dict[str, float]]:
        """Mean, standard deviation and count of the dimension and of every metric, over the texts that have them."""
        names = list(dict.fromkeys(name for result in self for name in result["metrics"]))
        columns = {"fractal_dimension": [result["fractal_dimension"] for result in self]}
        columns |= {name: [result["metrics"].get(name, np.nan) for result in self] for name in names}
        found: dict[str, dict[str, float]] = {}
        for name, values in columns.items():
            good = np.array([value for value in values if np.isfinite(value)])
            mean, std = (good.mean(), good.std()) if len(good) else (np.nan, np.nan)
            found[name] = {"mean": float(mean), "std": float(std), "texts": len(good)}
        return found


class FractalAttentionAnalyzer:
    """The geometry of a model's attention.

    Attributes:
        model: The model.
        tokenizer: What makes its inputs from text, or None.
        model_name: Its name.
    """

    model: Any
    tokenizer: Any
    model_name: str

    def __init__(
        self,
        model_name: str | os.PathLike[str] | Any,  # noqa: ANN401  # or a live model
        device_manager: DeviceManager | None = None,
        force_eager_attention: bool = True,
        *,
        tokenizer: Any = None,  # noqa: ANN401
        **model_kwargs: object,
    ) -> None:
        """Load a model, or take one.

        Args:
            model_name: A name of the hub, a folder, or a live transformers model.
            device_manager: Where it runs; a GPU where torch has one.
            force_eager_attention: Make a fused attention eager where weights are needed. False leaves it as it is, and
                a fused one is refused when it is asked: no weights are made up.
            tokenizer: Of a live model, or instead of the model's own.
            model_kwargs: For `from_pretrained`.

        Raises:
            InvalidArgumentError: The model cannot be loaded.
            ImportError: transformers is not installed.
        """
        self._eager = flag("force_eager_attention", force_eager_attention)
        if isinstance(model_name, (str, os.PathLike)):
            manager = DeviceManager() if device_manager is None else device_manager
            where = cast("str | os.PathLike[str]", model_name)
            self.model, found = ModelLoader(manager).load_model(where, self._eager, **model_kwargs)
            self.tokenizer = found if tokenizer is None else tokenizer
            self.model_name = os.fspath(where)
        else:
            if model_kwargs:
                raise InvalidArgumentError("model_kwargs", sorted(model_kwargs), "none for a live model")
            if not callable(model_name) or getattr(model_name, "config", None) is None:
                raise DTypeError("model_name", type(model_name).__name__, "a name, a folder, or a transformers model")
            live: Any = model_name
            self.model, self.tokenizer = live, tokenizer
            self.model_name = getattr(live.config, "_name_or_path", "") or type(live).__name__
        self.transforms = FractalTransforms()
        self.metrics = AttentionMetrics()

    def maps(self, text: str | Any, *, target: str | None = None, max_tokens: int | None = None) -> AttentionMaps:  # noqa: ANN401
        """The attention of every layer and head, from one forward pass.

        Args:
            text: A text, or whatever the image processor takes.
            target: What an encoder-decoder's decoder reads; by default the text itself.
            max_tokens: Keep the first tokens alone.

        Returns:
            The maps, with their tokens.

        Raises:
            InvalidArgumentError: No text, a text longer than the model's positions, or a model without weights.
            DTypeError: No text, or no tokenizer to read it with.
        """
        if not self._eager and getattr(self.model.config, "_attn_implementation", "eager") != "eager":
            given = f"{self.model.config._attn_implementation}, which makes no weights"
            raise InvalidArgumentError("force_eager_attention", f"False with {given}", "True, or a model that is eager")
        if self.tokenizer is None:
            raise DTypeError("tokenizer", None, "what makes the model's inputs from a text")
        if getattr(self.model, "main_input_name", "input_ids") == "pixel_values":
            inputs = dict(self.tokenizer(images=text, return_tensors="pt"))
            return capture(self.model, self._moved(inputs), name=self.model_name)
        inputs, tokens = self._encoded("text", text, max_tokens)
        if not getattr(self.model.config, "is_encoder_decoder", False):
            return capture(self.model, self._moved(inputs), tokens=tokens, name=self.model_name)
        read, own = (inputs, tokens) if target is None else self._encoded("target", target, max_tokens)
        inputs["decoder_input_ids"] = read["input_ids"]
        if read.get("attention_mask") is not None:
            inputs["decoder_attention_mask"] = read["attention_mask"]
        return capture(self.model, self._moved(inputs), tokens=own, sources=tokens, name=self.model_name)

    def _moved(self, inputs: dict[str, Any]) -> dict[str, Any]:
        device = next(self.model.parameters()).device
        return {name: value.to(device) for name, value in inputs.items()}

    def _encoded(self, argument: str, text: object, most: int | None) -> tuple[dict[str, Any], list[str]]:
        if not isinstance(text, str):
            raise DTypeError(argument, type(text).__name__, "a str")
        limit = getattr(self.model.config, "max_position_embeddings", None)
        limit = limit if isinstance(limit, int) and limit > 0 else None
        inputs = dict(self.tokenizer(text, return_tensors="pt", truncation=False, verbose=False))
        if most is not None:
            kept = integer("max_tokens", most, 1, 2**31 - 1)
            inputs = {name: value[:, :kept] for name, value in inputs.items()}
        n = inputs["input_ids"].shape[1]
        if n == 0:
            raise InvalidArgumentError(argument, repr(text), "a text of one token or more")
        if limit is not None and n > limit:
            raise InvalidArgumentError(
                argument, f"{n} tokens", f"at most {limit}, the model's positions; or max_tokens"
            )
        inputs.pop("token_type_ids", None) if not hasattr(self.model.config, "type_vocab_size") else None
        return inputs, list(self.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()))

    def measure(
        self,
        text: str,
        measures: Sequence[str] | str = ("D0", "D1", "D2", "normalized_entropy", "gini", "sink"),
        *,
        layers: Iterable[SupportsIndex | str] | None = None,
        heads: Iterable[SupportsIndex] | None = None,
    ) -> Table:
        """Measures of every head of every layer; see `fractal_core.analysis.measure`."""
        return measure(self.maps(text), measures, layers=layers, heads=heads)

    def analyze(
        self,
        text: str,
        layer_idx: SupportsIndex = -1,
        head_idx: SupportsIndex = 0,
        return_visualizations: bool = False,
        save_dir: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """One head of one layer, in full.

        Args:
            text: A text.
            layer_idx: The layer, of the decoder where there is one; negative numbers count from the end.
            head_idx: The head.
            return_visualizations: Add figures, by name.
            save_dir: A folder, made if need be, for the figures as PNG.

        Returns:
            `fractal_dimension` (the information dimension on the support, NaN below 32 tokens) and `fit` (its error,
            scales, counts, baseline, and the reasons not to trust it); `attention`, `transformed_attention`,
            `golden_ratio_scored` (N, M); `self_similarity`; `metrics`; `tokens`; `analysis_time` in seconds;
            `model_name`, `layer_idx` and `head_idx` counted from 0, `layer_name`; `provenance`; and `visualizations`.

        Raises:
            InvalidArgumentError: As in `maps`.
            KeyIndexError: There is no such layer or head; nothing is clamped.
        """
        start = time.perf_counter()
        maps = self.maps(text)
        found = self._of_head(maps, layer_idx, head_idx)
        found["analysis_time"] = time.perf_counter() - start
        if flag("return_visualizations", return_visualizations) or save_dir is not None:
            figures = self._figures(found, None if save_dir is None else Path(save_dir))
            if return_visualizations:
                found["visualizations"] = figures
        return found

    def _own(self, maps: AttentionMaps) -> AttentionMaps:
        """The layers that numbers count: those of the decoder where there is one."""
        return maps.of("decoder") if any(layer.kind == "decoder" for layer in maps) else maps

    def _of_head(self, maps: AttentionMaps, layer_idx: SupportsIndex, head_idx: SupportsIndex) -> dict[str, Any]:
        own = self._own(maps)
        number = place("layer_idx", layer_idx, len(own))
        layer = own.layers[number]
        head = place("head_idx", head_idx, layer.heads)
        weights = layer.matrices("layer_idx")[head]
        slope = renyi_dimension(weights, layer.support, q=1)
        transforms, metrics = FractalTransforms(support=layer.support), AttentionMetrics(layer.support)
        return {
            "fractal_dimension": float(slope),
            "fit": as_dict(slope),
            "attention": weights,
            "transformed_attention": transforms.fractal_interpolation_function(weights),
            "golden_ratio_scored": transforms.golden_ratio_scoring(weights),
            "self_similarity": transforms.compute_self_similarity(weights) if min(weights.shape) >= 4 else float("nan"),
            "metrics": metrics.compute_all_metrics(weights, float(slope)),
            "tokens": list(own.tokens or ()),
            "model_name": self.model_name,
            "layer_idx": number,
            "layer_name": layer.name,
            "head_idx": head,
            "support": slope.support,
            "provenance": dict(maps.provenance),
        }

    def _figures(self, result: dict[str, Any], folder: Path | None) -> dict[str, Any]:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        painter = AttentionVisualizer()

        def to(name: str) -> Path | None:
            return None if folder is None else folder / f"{name}.png"

        weights, tokens = result["attention"], result["tokens"]
        same = len(tokens) == weights.shape[1]
        where = f"{result['layer_name']}, head {result['head_idx']}"
        figures = {
            "attention": painter.plot_attention_matrix(weights, tokens if same else None, where, to("attention")),
            "comparison": painter.plot_fractal_comparison(
                weights, result["transformed_attention"], where, to("comparison")
            ),
            "metrics": painter.plot_metrics_comparison(result["metrics"], where, to("metrics")),
            "scales": painter.plot_multi_scale_analysis(
                FractalTransforms(support=None).multi_scale_analysis(weights), where, to("scales")
            ),
        }
        if same:
            figures["tokens"] = painter.plot_token_importance(weights.mean(0), tokens, save_path=to("tokens"))
        fit = result["fit"]
        counts = [count for count in fit["counts"] if count]
        if len(counts) == len(fit["scales"]) > 1:
            boxes = np.log(np.array(counts, float))
            sides = np.log(np.array(fit["scales"], float))
            sides -= sides.mean()
            slope = -float(sides @ boxes / (sides @ sides))
            figures["dimension"] = painter.plot_fractal_dimension_analysis(
                fit["scales"], counts, slope, f"boxes with weight: {where}", to("dimension")
            )
        return figures

    def analyze_batch(self, texts: Iterable[str], **kwargs: Any) -> BatchResults:  # noqa: ANN401
        """`analyze` of several texts; with `save_dir`, each text's figures in a folder of their own.

        Raises:
            DTypeError: A single text instead of several.
            InvalidArgumentError: As in `analyze`; the number of the text is named.
        """
        if isinstance(texts, str):
            raise DTypeError("texts", "a str", "several texts")
        folder = kwargs.pop("save_dir", None)
        found = BatchResults()
        for i, text in enumerate(texts):
            where = None if folder is None else Path(folder) / f"text_{i:03d}"
            found.append(self.analyze(text, save_dir=where, **kwargs))
        return found

    def compare_models(
        self, other_model_name: str | os.PathLike[str] | Any, text: str, *, draws: SupportsIndex = 19,  # noqa: ANN401
        seed: SupportsIndex = 0, **kwargs: Any,  # noqa: ANN401
    ) -> dict[str, Any]:  # fmt: skip
        """The same head of two models on the same text, each cut to the tokens of the shorter one.

        A dimension depends on the length, so both are measured on as many first tokens; whatever tokenizers make of the
        text. Beside each stands a null: its rows shuffled within their support.

        Args:
            other_model_name: A name, a folder, a live model, or another analyzer.
            text: A text.
            draws: Draws of each null, 2 or more.
            seed: Of the draws.
            kwargs: `layer_idx` and `head_idx`.

        Returns:
            `model_1` and `model_2`, each with `name`, `fractal_dimension`, `fit`, `metrics` and `null` (mean, standard
            deviation, z, p); `dimension_difference`; `tokens`, the common length, and `own_tokens`, those of each.

        Raises:
            InvalidArgumentError: As in `analyze`.
        """
        other = (
            other_model_name
            if isinstance(other_model_name, FractalAttentionAnalyzer)
            else FractalAttentionAnalyzer(other_model_name)
        )
        count, number = integer("draws", draws, 2, 2**31 - 1), integer("seed", seed, 0, 2**63 - 1)
        wholes = [side.maps(text) for side in (self, other)]
        lengths = [side._own(maps).layers[0].shape[0] for side, maps in zip((self, other), wholes, strict=True)]
        shortest = min(lengths)
        sides: list[dict[str, Any]] = []
        analyzers: tuple[FractalAttentionAnalyzer, ...] = (self, other)
        for side, maps, length in zip(analyzers, wholes, lengths, strict=True):
            cut = maps if length == shortest else side.maps(text, max_tokens=shortest)
            result = side._of_head(cut, kwargs.get("layer_idx", -1), kwargs.get("head_idx", 0))
            layer = side._own(cut).layer(result["layer_idx"])
            sides.append({
                "name": side.model_name,
                **{name: result[name] for name in ("fractal_dimension", "fit", "metrics", "layer_idx", "head_idx")},
                "null": _null(layer, result["head_idx"], count, np.random.default_rng(number)),
            })  # fmt: skip
        difference = sides[0]["fractal_dimension"] - sides[1]["fractal_dimension"]
        return {"model_1": sides[0], "model_2": sides[1], "dimension_difference": difference, "tokens": shortest,
                "own_tokens": lengths}  # fmt: skip

    def export_results(
        self,
        results: dict[str, Any] | Sequence[dict[str, Any]],
        output_path: str | os.PathLike[str],
        format: Format = "json",  # the original's name
    ) -> None:
        """Writes results of `analyze`; see `fractal_core.analysis.export`.

        Raises:
            InvalidArgumentError: An unknown format.
            OSError: It cannot be written; nothing is left behind.
        """
        write_results(results, output_path, format)

    def __repr__(self) -> str:
        """The model's name and class."""
        return f"FractalAttentionAnalyzer({self.model_name!r}, {type(self.model).__name__})"


def _null(layer: LayerMaps, head: int, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {"null": "rows shuffled", "draws": 0, "mean": None, "std": None, "z": None, "p": None}
    tested = shuffle_test(layer, head, draws, rng)
    if tested is None:
        return found
    test, _ = tested
    z = float(test.z)
    return {**found, "draws": draws, "mean": float(test.mean), "std": float(test.std),
            "z": z if np.isfinite(z) else None, "p": float(test.p)}  # fmt: skip
