"""The models of end_to_end.py: real shapes, random weights, made on the device; each runs from its inputs to its last hidden states
(for text models: the logits of the last token), block by block, so that a CUDA graph holds all of it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import transformers

from coppice.models.blocks import blocks_of


@dataclass
class Study:
    """One model of the study."""

    kind: str  # class of transformers
    config: str
    sizes: dict
    batch: int
    tokens: int
    patterns: tuple
    generates: int = 0  # tokens of the static cache; 0: it does not generate
    tiny: dict = None  # for a run without a GPU


_BERT = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, vocab_size=30522)
_LLAMA = dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336,
              vocab_size=128256, max_position_embeddings=8192, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})
_TINY = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256)

STUDIES = {
    "bert-large": Study("BertModel", "BertConfig", _BERT, 32, 512, ("2:4", "64:2:8", "128:2:8"), tiny=dict(_TINY, vocab_size=100)),
    "deit-base": Study("DeiTModel", "DeiTConfig", {}, 256, 198, ("2:4", "64:2:8", "128:2:8"), tiny=dict(_TINY, image_size=32)),
    "gpt2": Study("GPT2LMHeadModel", "GPT2Config", {}, 4, 1024, ("2:4", "64:2:8", "128:2:8"), 256,
                  tiny=dict(n_embd=128, n_layer=2, n_head=4, vocab_size=100)),
    "llama-3-8b": Study("LlamaForCausalLM", "LlamaConfig", _LLAMA, 1, 4096, ("2:4", "64:2:8", "128:2:8", "vw128/8:32"), 256,
                        tiny=dict(_TINY, num_key_value_heads=2, vocab_size=100)),
}


def make(study, layers, device, dtype, tiny):
    sizes = dict(study.tiny if tiny else study.sizes)
    config = getattr(transformers, study.config)(**sizes)
    if layers:
        config.num_hidden_layers = min(layers, config.num_hidden_layers)
    torch.manual_seed(0)
    with torch.device(device):
        model = getattr(transformers, study.kind)._from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model.eval().requires_grad_(False)


def inputs(study, model, device, dtype, tiny):
    batch, tokens = (2, 40) if tiny else (study.batch, study.tokens)
    config = model.config
    if hasattr(config, "image_size"):
        return torch.randn(batch, 3, config.image_size, config.image_size, device=device, dtype=dtype)
    return torch.randint(5, config.vocab_size, (batch, tokens), device=device)


def _hidden(output):
    return output[0] if isinstance(output, tuple) else output


def embed(model, given, position=None):
    """(hidden states, what blocks take beside them). position: of one token, a tensor; None: all from 0 on."""
    base, kind = model.base_model, model.config.model_type
    if kind in ("bert", "deit", "vit"):
        return base.embeddings(given), {}
    positions = torch.arange(given.shape[1], device=given.device)[None] if position is None else position[None]
    if kind == "gpt2":
        return base.wte(given) + base.wpe(positions), {}
    hidden = base.embed_tokens(given)
    return hidden, {"position_embeddings": base.rotary_emb(hidden, positions)}


def finish(model, hidden):
    base, kind = model.base_model, model.config.model_type
    if kind == "bert":
        return hidden
    if kind in ("deit", "vit"):
        return base.layernorm(hidden)
    norm = base.ln_f if kind == "gpt2" else base.norm
    return model.lm_head(norm(hidden[:, -1:]))


def forward(model, given):
    hidden, more = embed(model, given)
    for block in blocks_of(model):
        hidden = _hidden(block(hidden, **more))
    return finish(model, hidden)


def one_block(model, given):
    """(the first block, its arguments)"""
    hidden, more = embed(model, given)
    return blocks_of(model)[0], hidden, more


class BlockCache:
    """Keys and values of one block in tensors of a fixed size, as `past_key_values` of that block alone."""

    def __init__(self, keys, values, position):
        self.keys, self.values, self.position = keys, values, position

    def update(self, keys, values, *_):
        self.keys.index_copy_(2, self.position, keys)
        self.values.index_copy_(2, self.position, values)
        return self.keys, self.values


def grouped_attention(module, query, key, value, attention_mask, scaling=None, **_):
    """PyTorch's attention, which reads the keys of a group of heads once; transformers repeats them where there is a mask."""
    y = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True)
    return y.transpose(1, 2), None


transformers.AttentionInterface.register("grouped", grouped_attention)


def attention_for(query, cache, mask):
    """The name of an attention that has a fast kernel for one token and a cache of keys."""
    if not query.is_cuda:
        return "sdpa"
    parameters = torch.backends.cuda.SDPAParams(query, cache.keys, cache.values, mask, 0.0, False, True)
    return "grouped" if torch.backends.cuda.can_use_cudnn_attention(parameters) else "sdpa"


class Generation:
    """Greedy generation at batch 1. A call of `step` makes a token from the one before; it reads and writes fixed memory only, so
    that it can be captured once and replayed for every token."""

    def __init__(self, model, length, device, dtype, backend):
        config = model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = (1, heads, length, config.hidden_size // config.num_attention_heads)
        self.model, self.length = model, length
        self.token = torch.zeros(1, 1, dtype=torch.long, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.places = torch.arange(length, device=device)
        self.dtype = dtype
        self.caches = [BlockCache(torch.zeros(size, device=device, dtype=dtype), torch.zeros(size, device=device, dtype=dtype),
                                  self.position) for _ in blocks_of(model)]
        # The same for all variants: what is before and behind the blocks. The head stays dense.
        self.begin = torch.compile(self._begin, dynamic=False, backend=backend)
        self.choose = torch.compile(lambda hidden: finish(model, hidden).argmax(-1), fullgraph=True, dynamic=False, backend=backend)
        query = torch.zeros(1, config.num_attention_heads, 1, size[-1], device=device, dtype=dtype)
        config._attn_implementation = attention_for(query, self.caches[0], self._begin()[2])
        for block in blocks_of(model):  # a number of its own would have every block compiled again
            attention = getattr(block, "self_attn", None) or block.attn
            attention.layer_idx = 0

    def _begin(self):
        """(hidden states, what blocks take beside them, the mask: 0 or -infinity)"""
        mask = torch.where(self.places <= self.position, 0.0, float("-inf")).to(self.dtype)
        return *embed(self.model, self.token, self.position), mask[None, None, None]

    def start(self, token=1, position=0):
        self.token.fill_(token)
        self.position.fill_(position)

    def step(self):
        hidden, more, mask = self.begin()
        for block, cache in zip(blocks_of(self.model), self.caches):
            hidden = _hidden(block(hidden, attention_mask=mask, past_key_values=cache, **more))
        self.token.copy_(self.choose(hidden))
        self.position.add_(1).clamp_(max=self.length - 1)
