"""The sizes of a model by its SPEC, for planning: from its config where it is here, by name before it is fetched."""

from __future__ import annotations

from pathlib import Path

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.memory_terms import Shape
from alpaca_tui.jobs import models
from alpaca_tui.jobs.modelfacts import model_facts, parameter_count

# hidden, intermediate, layers, heads, key-value heads, vocabulary, tied embeddings; from the models' own config.json.
_KNOWN: dict[str, tuple[int, int, int, int, int, int, bool]] = {
    "llama-7b": (4096, 11008, 32, 32, 32, 32_000, False),
    "llama-13b": (5120, 13824, 40, 40, 40, 32_000, False),
    "llama-30b": (6656, 17920, 60, 52, 52, 32_000, False),
    "llama-65b": (8192, 22016, 80, 64, 64, 32_000, False),
    "llama-2-7b": (4096, 11008, 32, 32, 32, 32_000, False),
    "llama-2-13b": (5120, 13824, 40, 40, 40, 32_000, False),
    "llama-2-70b": (8192, 28672, 80, 64, 8, 32_000, False),
    "llama-3-8b": (4096, 14336, 32, 32, 8, 128_256, False),
    "tinyllama-1.1b": (2048, 5632, 22, 32, 4, 32_000, False),
    models.EMBEDDED: (576, 1536, 30, 9, 3, 49_152, True),
}

BUILT_IN = tuple(_KNOWN)
"""Names that can be planned for before anything is downloaded."""


def shape(spec: str) -> Shape:
    """The sizes behind ``spec``: a model directory, a hub id that is in the cache, or a name in ``BUILT_IN``.

    Nothing is downloaded. Raises UsageError for anything else, AlpacaError where a directory holds no usable config.
    """
    if spec in _KNOWN and not Path(spec).is_dir():
        return _known(spec)
    try:
        ref = models.resolve(spec, fetch=False)
    except UsageError as error:
        raise UsageError(f"{error}; to plan before a download: {', '.join(BUILT_IN)}") from error
    if ref.kind == "openai":
        raise UsageError(f"{spec} is an endpoint; only a local model can be tuned, and so planned for")
    if ref.path is None:
        raise AlpacaError(
            f"{spec} is not here yet; fetch it with: alpaca-tui models add {spec}; "
            f"or plan by a name of the same shape: {', '.join(BUILT_IN)}"
        )
    facts = model_facts(ref.path)
    return Shape(
        name=spec,
        hidden=facts.hidden_size,
        intermediate=facts.intermediate_size,
        layers=facts.layers,
        heads=facts.heads,
        kv_heads=facts.kv_heads,
        head_dim=facts.head_dim,
        vocab=facts.vocab_size,
        tied=facts.tied_embeddings,
        parameters=facts.parameters,
    )


def known_shape(spec: str) -> Shape | None:
    """The sizes behind ``spec`` where they are known without a download; None where they are not."""
    try:
        return shape(spec)
    except AlpacaError:
        return None


def _known(name: str) -> Shape:
    hidden, intermediate, layers, heads, kv_heads, vocab, tied = _KNOWN[name]
    head_dim = hidden // heads
    parameters = parameter_count(
        vocab=vocab,
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        tied=tied,
    )
    return Shape(name, hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, tied, parameters)
