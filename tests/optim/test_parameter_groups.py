"""Groups of parameters. Fault F16: `layer` made a norm of every weight of a transformer, `attn` was unknown."""

from __future__ import annotations

import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim import FAM, get_parameter_groups
from fractal_core.optim.parameter_groups import kind_of_name
from torch import nn


def kinds(model, **kwargs):
    return {name: group["kind"] for group in get_parameter_groups(model, **kwargs) for name, _ in group["params"]}


def check_partition(model):
    groups = get_parameter_groups(model, weight_decay=0.1)
    found = [p for group in groups for _, p in group["params"]]
    wanted = [p for p in model.parameters() if p.requires_grad]
    assert len(found) == len(wanted)
    assert {id(p) for p in found} == {id(p) for p in wanted}
    assert all(group["weight_decay"] == 0 for group in groups for _, p in group["params"] if p.ndim <= 1)


def test_a_transformer_of_torch():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 2, enable_nested_tensor=False)
    found = kinds(model)
    assert found["layers.0.linear1.weight"] == "other"
    assert found["layers.1.linear2.weight"] == "other"
    assert found["layers.0.self_attn.in_proj_weight"] == "attention"
    assert found["layers.0.self_attn.out_proj.weight"] == "attention"
    assert found["layers.0.self_attn.out_proj.bias"] == "attention, no decay"
    assert found["layers.0.norm1.weight"] == "norm"
    assert found["layers.0.linear1.bias"] == "other, no decay"
    check_partition(model)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(10, 8)
        self.pos_embed = nn.Parameter(torch.zeros(4, 8))
        self.stem = nn.Conv1d(8, 8, 3)
        self.layers = nn.ModuleList([nn.Linear(8, 8)])
        self.cross_attn = nn.Linear(8, 8)
        self.mixer = nn.Linear(8, 8)
        self.gate = nn.RMSNorm(8)
        self.batch = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.token_embedding.weight
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)
        self.scales = nn.Parameter(torch.zeros(3, 3))

    def no_weight_decay(self):
        return {"scales"}


class Mixer(nn.Linear):
    pass


def test_types_come_before_names_and_tied_weights_come_once():
    found = kinds(Mixed())
    assert found["token_embedding.weight"] == "embedding"
    assert "head.weight" not in found
    assert "frozen" not in found
    assert found["pos_embed"] == "embedding"
    assert found["stem.weight"] == "conv"
    assert found["stem.bias"] == "conv, no decay"
    assert found["layers.0.weight"] == "other"
    assert found["cross_attn.weight"] == "attention"
    assert found["gate.weight"] == found["batch.bias"] == "norm"
    assert found["scales"] == "other, no decay"
    check_partition(Mixed())


def test_what_each_kind_is_given():
    groups = {group["kind"]: group for group in get_parameter_groups(Mixed(), lr=0.1, weight_decay=0.2)}
    table = {k: (g["lr"], g["weight_decay"], g["alpha"], g["n_bands"], g["handler"]) for k, g in groups.items()}
    assert table["conv"] == (0.1, 0.2, 0.9, 10, "conv")
    assert table["attention"] == (0.1, 0.2, 0.92, 12, "attention")
    assert table["embedding"][0] == pytest.approx(0.08)
    assert table["embedding"][1] == pytest.approx(0.3)
    assert table["embedding"][2:] == (0.95, 8, "embedding")
    assert table["norm"] == (0.1, 0.0, 0.9, 4, "default")
    assert table["other"] == (0.1, 0.2, 0.9, 8, "default")


def test_classes_of_attention_may_be_given():
    model = nn.Sequential(Mixer(4, 4), nn.Linear(4, 4))
    assert kinds(model)["0.weight"] == "other"
    assert kinds(model, attention=[Mixer])["0.weight"] == "attention"
    assert kinds(model, attention=[Mixer])["1.weight"] == "other"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("weight", "other"),
        ("layer.0.weight", "other"),
        ("layers.3.mlp.weight", "other"),
        ("h.0.attn.c_attn.weight", "attention"),
        ("h.0.ln_1.weight", "norm"),
        ("bert.embeddings.LayerNorm.weight", "norm"),
        ("bert.embeddings.word_embeddings.weight", "embedding"),
        ("wte.weight", "embedding"),
        ("features.conv2.weight", "conv"),
        ("bn1.weight", "norm"),
        ("normalise.weight", "other"),
        ("platform.weight", "other"),
    ],
)
def test_names(name, kind):
    assert kind_of_name(name) == kind


def test_pairs_of_names_reach_the_optimizer():
    model = Mixed()
    optimizer = FAM(get_parameter_groups(model, lr=torch.tensor(0.1)), lr=0.5)
    assert sorted(optimizer.parameter_names()) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    assert {group["handler"] for group in optimizer.param_groups} == {"conv", "attention", "embedding", "default"}


@pytest.mark.parametrize(
    ("argument", "kind", "call"),
    [
        ("model", DTypeError, lambda: get_parameter_groups([nn.Linear(2, 2)])),
        ("lr", InvalidArgumentError, lambda: get_parameter_groups(nn.Linear(2, 2), lr=-1)),
        ("weight_decay", InvalidArgumentError, lambda: get_parameter_groups(nn.Linear(2, 2), weight_decay=-1)),
        ("attention", DTypeError, lambda: get_parameter_groups(nn.Linear(2, 2), attention=["Mixer"])),
    ],
)
def test_wrong_calls(argument, kind, call):
    with pytest.raises(kind, match=f"^{argument}"):
        call()
