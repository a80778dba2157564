"""Groups of a model's parameters by what they do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]

from fractal_core.errors import DTypeError
from fractal_core.optim.checks import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["get_parameter_groups", "kind_of_name"]


class _Kind(NamedTuple):
    """What a kind of parameter is given."""

    handler: str
    alpha: float
    n_bands: int
    rate: float = 1.0
    decay: float = 1.0


_KINDS = {
    "conv": _Kind("conv", 0.9, 10),
    "attention": _Kind("attention", 0.92, 12),
    "embedding": _Kind("embedding", 0.95, 8, rate=0.8, decay=1.5),
    "norm": _Kind("default", 0.9, 4, decay=0.0),
    "other": _Kind("default", 0.9, 8),
}

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)

# Whole words of a dotted name, numbers and underscores apart: "layers.0.norm1" is a norm, "layers.0" is not.
_WORDS = {
    "norm": {"norm", "layernorm", "rmsnorm", "batchnorm", "groupnorm", "ln", "bn"},
    "conv": {"conv", "convs", "cnn", "conv1d", "conv2d", "conv3d"},
    "attention": {"attention", "attn", "mha", "selfattn", "crossattn", "selfattention"},
    "embedding": {"embed", "embedding", "embeddings", "embeds", "emb", "wte", "wpe"},
}


def kind_of_name(name: str) -> str:
    """`norm`, `conv`, `attention`, `embedding` or `other`, by the words of a parameter's dotted name.

    The word nearest to the parameter counts, so that `attn.norm.weight` is of a norm.
    """
    for part in reversed(name.split(".")):
        words = set(re.split(r"[_\d]+", part.lower()))
        for kind, known in _WORDS.items():
            if words & known:
                return kind
    return "other"


def get_parameter_groups(
    model: nn.Module,
    lr: float | Tensor = 1e-3,
    weight_decay: float = 0.0,
    *,
    attention: Iterable[type[nn.Module]] = (),
) -> list[dict[str, Any]]:
    """Groups for `FAM` and its kin: handlers, momenta and numbers of bands by kind of parameter.

    A parameter's kind is that of the module that owns it (convolutions, embeddings, norms), else attention if a module
    around it is (`nn.MultiheadAttention`, those given), else what its name says. Vectors, norms and what a module's
    `no_weight_decay()` names are not decayed.

    | kind | alpha | n_bands | lr | weight decay |
    |---|---|---|---|---|
    | conv | 0.9 | 10 | 1 | 1 |
    | attention | 0.92 | 12 | 1 | 1 |
    | embedding | 0.95 | 8 | 0.8 | 1.5 |
    | norm | 0.9 | 4 | 1 | 0 |
    | other | 0.9 | 8 | 1 | 1 |

    Args:
        model: whose trainable parameters are grouped; each comes once, tied ones under their first name.
        lr: the factor of the table's.
        weight_decay: likewise.
        attention: more classes of modules whose parameters are of attention.

    Returns:
        Groups that are not empty. `params` are pairs of name and parameter, `kind` is the kind, followed by
        `, no decay` where the group has none for a reason other than a `weight_decay` of 0.

    Raises:
        DTypeError: `model` is no module, or `attention` holds no classes.
        InvalidArgumentError: a negative rate.
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("model", type(model).__name__, "a torch.nn.Module")
    learning_rate("lr", lr)
    learning_rate("weight_decay", weight_decay)
    around = (nn.MultiheadAttention, *attention)
    if not all(isinstance(one, type) for one in around):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("attention", repr(attention), "classes of modules")
    spared = set(_spared(model))
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = _kind(model, name, around)
        given = _KINDS[kind]
        bare = given.decay == 0 or parameter.ndim <= 1 or name in spared
        title = f"{kind}, no decay" if bare and given.decay != 0 else kind
        group = groups.setdefault(
            title,
            {
                "params": [],
                "kind": title,
                "lr": lr if given.rate == 1 else lr * given.rate,
                "weight_decay": 0.0 if bare else weight_decay * given.decay,
                "alpha": given.alpha,
                "n_bands": given.n_bands,
                "handler": given.handler,
            },
        )
        group["params"].append((name, parameter))
    return list(groups.values())


def _kind(model: nn.Module, name: str, around: tuple[type[nn.Module], ...]) -> str:
    owners = _owners(model, name)
    for kind, classes in (("norm", _NORMS), ("conv", (_ConvNd,)), ("embedding", (nn.Embedding, nn.EmbeddingBag))):
        if isinstance(owners[-1], classes):
            return kind
    if any(isinstance(owner, around) for owner in owners):
        return "attention"
    return kind_of_name(name)


def _owners(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules on the way to a parameter, outermost first."""
    owners = [model]
    for part in name.split(".")[:-1]:
        owners.append(cast("nn.Module", getattr(owners[-1], part)))
    return owners


def _spared(model: nn.Module) -> Iterator[str]:
    """Names of parameters that a `no_weight_decay()` on the way gives, from the root."""
    for prefix, module in cast("Iterable[tuple[str, nn.Module]]", model.named_modules()):
        method = cast("Callable[[], Iterable[str]] | None", getattr(module, "no_weight_decay", None))
        if callable(method):
            for name in method():
                yield f"{prefix}.{name}" if prefix else name
