"""Which module of a transformer block plays which part: the table of docs/torch.md. A model is supported by a row here."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Roles:
    """Names of modules inside of a block.

    norms: {norm: what alone reads its output}; stacks: projections of one input; gated: the MLPs act(gate x) * (up x) by the name
    of the MLP, with the names in it; firsts: {a layer: the activation behind it, which nothing else reads}.
    """

    norms: dict = field(default_factory=dict)
    stacks: tuple = ()
    gated: dict = field(default_factory=dict)
    firsts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Gated:
    gate: str
    up: str
    down: str
    activation: str


_LLAMA = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_VIT = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_BERT = ("attention.self.query", "attention.self.key", "attention.self.value")

# model_type of transformers -> roles; models/blocks.py says where the blocks are.
ROLES = {
    "llama mistral qwen2 qwen3": Roles(
        norms={"input_layernorm": _LLAMA, "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")},
        stacks=(_LLAMA,), gated={"mlp": Gated("gate_proj", "up_proj", "down_proj", "act_fn")}),
    "deit vit": Roles(
        norms={"layernorm_before": _VIT, "layernorm_after": ("mlp.fc1",)}, stacks=(_VIT,), firsts={"mlp.fc1": "mlp.activation_fn"}),
    "gpt2": Roles(norms={"ln_1": ("attn.c_attn",), "ln_2": ("mlp.c_fc",)}, firsts={"mlp.c_fc": "mlp.act"}),
    "bert camembert electra roberta xlm-roberta": Roles(
        stacks=(_BERT,), firsts={"intermediate.dense": "intermediate.intermediate_act_fn"}),
}


def roles_of(model):
    """The model's roles by the table, or None."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    return next((roles for types, roles in ROLES.items() if model_type in types.split()), None)
