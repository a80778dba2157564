"""The seed's analyzer: a model, and what its attention looks like."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core.analysis.compare import compared, same_length
from fractal_core.analysis.export import export_results
from fractal_core.analysis.maps import AttentionMaps
from fractal_core.analysis.measures import MEASURES, Settings, measure
from fractal_core.analysis.provenance import SCHEMA
from fractal_core.analysis.results import BatchResults, analyze_maps
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from typing import SupportsIndex

    from fractal_core.analysis.devices import DeviceManager
    from fractal_core.analysis.generation import GenerationStream


class FractalAttentionAnalyzer:
    """Geometry of the attention of one model: causal, encoder, encoder-decoder or vision.

    An input is whatever `capture` takes: a text, token numbers, an image for a model with a processor, a mapping of
    tensors; or the `AttentionMaps` of an earlier pass.

    Args:
        model_name: A name on the hub, a folder, a `.gguf` file, or a live model of transformers.
        device_manager: Where a loaded model goes; a `DeviceManager()` by default.
        force_eager_attention: Whether attention that gives no weights is switched for the pass; if not, it is refused.
        tokenizer: Of a live model; or in place of the one that a folder has.
        **model_kwargs: For `from_pretrained`.

    Raises:
        ModelError: The model does not load.
        InvalidArgumentError: `model_kwargs` beside a live model.
        DTypeError: An argument has no fitting type.
        ImportError: torch or transformers is not installed.
    """

    def __init__(
        self,
        model_name: Any,  # noqa: ANN401  # a name, a path or a model
        device_manager: DeviceManager | None = None,
        force_eager_attention: bool = True,
        *,
        tokenizer: Any = None,  # noqa: ANN401
        **model_kwargs: Any,  # noqa: ANN401
    ) -> None:
        self.force_eager_attention = flag("force_eager_attention", force_eager_attention)
        self.device_manager, self.model_kwargs = device_manager, dict(model_kwargs)
        if hasattr(model_name, "forward") and hasattr(model_name, "config"):
            if model_kwargs:
                raise InvalidArgumentError("model_kwargs", sorted(model_kwargs), "none, for a model that is loaded")
            self.model, self.tokenizer = model_name, tokenizer
            if device_manager is not None:
                self.model = self.model.to(device_manager.device)
        else:
            from fractal_core.analysis.loading import ModelLoader

            loader = ModelLoader(device_manager)
            self.model, found = loader.load_model(model_name, self.force_eager_attention, **model_kwargs)
            self.tokenizer = found if tokenizer is None else tokenizer
        named = str(getattr(self.model.config, "_name_or_path", ""))
        self.model_name = named or type(self.model).__name__

    def attention(self, text: Any, *, target: Any = None) -> AttentionMaps:  # noqa: ANN401
        """The attention of one input, every layer and head; `capture` says the rest."""
        if isinstance(text, AttentionMaps):
            return text
        from fractal_core.analysis.forward import capture

        return capture(self.model, text, self.tokenizer, target=target, switch=self.force_eager_attention)

    def analyze(
        self,
        text: Any,  # noqa: ANN401
        layer_idx: int | str = -1,
        head_idx: SupportsIndex = 0,
        return_visualizations: bool = False,
        save_dir: str | os.PathLike[str] | None = None,
        *,
        target: Any = None,  # noqa: ANN401
        settings: Settings | None = None,
    ) -> dict[str, Any]:
        """Dimensions, metrics and transforms of one head, from one forward pass.

        Args:
            text: The input.
            layer_idx: The layer, by place (negative: from the last) or name.
            head_idx: The head; negative: from the last.
            return_visualizations: Whether figures come back.
            save_dir: A folder for the figures, made where it is missing.
            target: What the decoder of an encoder-decoder model reads.
            settings: How the measures are taken.

        Returns:
            As `analyze_maps` says; `analysis_time` with the pass.

        Raises:
            InvalidArgumentError: An input, layer, head or setting that is not taken.
            DTypeError: An argument has no fitting type.
            ModelError: The model gives no weights, or the pass failed.
        """
        started = time.perf_counter()
        maps = self.attention(text, target=target)
        result = analyze_maps(maps, layer_idx, head_idx, return_visualizations, save_dir, settings=settings)
        result["analysis_time"] = time.perf_counter() - started
        return result

    def analyze_all(
        self,
        text: Any,  # noqa: ANN401
        measures: Sequence[str] | str = MEASURES,
        *,
        layers: Iterable[int | str] | int | str | None = None,
        heads: Iterable[SupportsIndex] | None = None,
        target: Any = None,  # noqa: ANN401
        settings: Settings | None = None,
    ) -> dict[str, Any]:
        """Every layer and head from one forward pass.

        Args:
            text: The input.
            measures: As in `measure`.
            layers: As in `measure`.
            heads: As in `measure`.
            target: As in `analyze`.
            settings: How the measures are taken.

        Returns:
            `table` (a `Table`), `maps` (the `AttentionMaps`), `tokens`, `n_tokens`, `model_name`, `analysis_time` (s),
            `forward_time` (s, its share), `schema`, `provenance`.

        Raises:
            InvalidArgumentError: As `analyze` and `measure`.
            DTypeError: As `analyze` and `measure`.
            ModelError: As `analyze`.
        """
        started = time.perf_counter()
        maps = self.attention(text, target=target)
        passed = time.perf_counter()
        table = measure(maps, measures, layers=layers, heads=heads, settings=settings)
        return {
            "table": table,
            "maps": maps,
            "tokens": list(maps.tokens),
            "n_tokens": maps.layers[0].shape[1],
            "model_name": self.model_name,
            "forward_time": passed - started,
            "analysis_time": time.perf_counter() - started,
            "schema": SCHEMA,
            "provenance": dict(table.provenance),
        }

    def analyze_batch(
        self,
        texts: Sequence[Any],
        *,
        batch_size: SupportsIndex = 8,
        seed: SupportsIndex = 0,
        layer_idx: int | str = -1,
        head_idx: SupportsIndex = 0,
        return_visualizations: bool = False,
        save_dir: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
    ) -> BatchResults:
        """Several texts, `batch_size` in one forward pass, each without its padding.

        Args:
            texts: Texts, or sequences of token numbers.
            batch_size: Inputs of one pass, 1 or more.
            seed: Of the bootstrap in the aggregate.
            layer_idx: As in `analyze`.
            head_idx: As in `analyze`.
            return_visualizations: As in `analyze`.
            save_dir: As in `analyze`; the files' names begin with the place of their text.
            settings: As in `analyze`.

        Returns:
            The results as a list; `aggregate` says what they say together.

        Raises:
            InvalidArgumentError: As `analyze`; also no text at all.
            DTypeError: As `analyze`.
            ModelError: As `analyze`.
        """
        if isinstance(texts, (str, Mapping)):
            raise DTypeError("texts", type(texts).__name__, "a sequence of texts")
        listed = list(texts)
        if not listed:
            raise InvalidArgumentError("texts", "none", "at least one text")
        size = integer("batch_size", batch_size, 1, INT32_MAX)
        from fractal_core.analysis.encoded import encode
        from fractal_core.analysis.forward import capture_batch

        parts = [listed[start : start + size] for start in range(0, len(listed), size)]
        for part in parts:  # so that a bad text is refused before the first figure is written
            encode(self.model, part, self.tokenizer, None)
        results: list[dict[str, Any]] = []
        for part in parts:
            started, first = time.perf_counter(), len(results)
            passed = capture_batch(self.model, part, self.tokenizer, switch=self.force_eager_attention)
            each = (time.perf_counter() - started) / len(part)
            for offset, maps in enumerate(passed):
                index = first + offset
                result = analyze_maps(
                    maps,
                    layer_idx,
                    head_idx,
                    return_visualizations,
                    save_dir,
                    settings=settings,
                    prefix=f"text{index}_",
                )
                result["text_index"] = index
                result["analysis_time"] += each
                results.append(result)
        return BatchResults(results, seed=seed)

    def compare_models(
        self,
        other_model_name: Any,  # noqa: ANN401
        text: Any,  # noqa: ANN401
        *,
        other_tokenizer: Any = None,  # noqa: ANN401
        other_model_kwargs: Mapping[str, Any] | None = None,
        nulls: SupportsIndex = 20,
        seed: SupportsIndex = 0,
        layer_idx: int | str = -1,
        head_idx: SupportsIndex = 0,
        settings: Settings | None = None,
    ) -> dict[str, Any]:
        """One text in two models, at the same number of tokens, each beside its null model.

        Dimensions depend on the number of tokens. So where the two tokenizers differ, the longer input is cut to the
        length of the shorter; a closing special token is kept.

        Args:
            other_model_name: A name, a folder, a live model, or another analyzer.
            text: The input, the same for both.
            other_tokenizer: Of a live model.
            other_model_kwargs: For `from_pretrained`; by default those of this analyzer.
            nulls: Draws of the null model: every row's weights shuffled within its support.
            seed: Of the draws.
            layer_idx: As in `analyze`, in both.
            head_idx: As in `analyze`, in both.
            settings: As in `analyze`.

        Returns:
            `model_1` and `model_2` (each as `analyze`, with `name` and `null`: mean, std, z and p of the null model for
            the dimension), `dimension_difference` (first less second), `rule`, `n_tokens`, `cut` (tokens left out of
            each), `schema`.

        Raises:
            InvalidArgumentError: As `analyze`.
            DTypeError: As `analyze`.
            ModelError: As `analyze`.
        """
        if isinstance(other_model_name, FractalAttentionAnalyzer):
            other = other_model_name
        else:
            live = hasattr(other_model_name, "forward")
            kwargs = self.model_kwargs if other_model_kwargs is None else dict(other_model_kwargs)
            other = FractalAttentionAnalyzer(
                other_model_name,
                self.device_manager,
                self.force_eager_attention,
                tokenizer=other_tokenizer,
                **({} if live else kwargs),
            )
        draws = integer("nulls", nulls, 1, INT32_MAX)
        inputs, cut = same_length([(self.model, self.tokenizer), (other.model, other.tokenizer)], text)
        rng = np.random.default_rng(integer("seed", seed, 0, INT32_MAX))
        both = [(one.model_name, one.attention(given)) for one, given in zip((self, other), inputs, strict=True)]
        return compared(
            both, cut, layer_idx=layer_idx, head_idx=head_idx, settings=settings or Settings(), draws=draws, rng=rng
        )

    def stream(self, text: Any, *, max_new_tokens: SupportsIndex = 64, **settings: Any) -> GenerationStream:  # noqa: ANN401
        """The attention of a causal model while it writes; `GenerationStream` says the rest."""
        from fractal_core.analysis.generation import GenerationStream

        return GenerationStream(
            self.model,
            text,
            self.tokenizer,
            max_new_tokens=max_new_tokens,
            switch=self.force_eager_attention,
            **settings,
        )

    def export_results(
        self,
        results: object,
        output_path: str | os.PathLike[str],
        format: str = "json",  # the seed's name
        **settings: Any,  # noqa: ANN401
    ) -> None:
        """Writes results to a file; `fractal_core.analysis.export_results` says the rest."""
        export_results(cast("Any", results), output_path, format, **settings)
