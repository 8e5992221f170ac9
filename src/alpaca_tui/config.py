"""Where the project lies, and its ``config.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_settings import RuleSettings
from alpaca_tui.core.rule_text import BANNED_WORDS, CONTENT_WORDS

CONFIG_NAME = "config.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateConfig(_Section):
    """Defaults for generation."""

    model: str = "smollm2-135m"
    """The model SPEC that invents instructions, inputs and outputs."""
    recipe: str = "self-instruct"
    """The prompt pack."""
    threshold: float = Field(0.7, ge=0.0, le=1.0)
    """ROUGE-L over which an instruction is too close to a known one (Self-Instruct: 0.7)."""
    batch: int | None = Field(None, ge=1)
    """Requests in flight at once; None: what a local model's memory allows (at most 32 on a CPU), 8 at an endpoint."""
    output_model: str | None = None
    """A model SPEC that writes every output anew; None: the outputs of ``model`` stay."""
    options: PackOptions = PackOptions()
    """How generation departs from its recipe: ``mode``, ``human``, ``machine``, ``settings`` and so on."""


class EndpointConfig(_Section):
    """An OpenAI-compatible server: where it is, what it allows and what it costs. The key itself never stands here."""

    base_url: str | None = Field(None, pattern=r"^https?://[^\s@]+$")
    """Its address, up to and with ``/v1``; None: what the SPEC names, else the provider's own."""
    key_variable: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the key (default: OPENAI_API_KEY)."""
    key_file: Path | None = None
    """A file that only its owner may read (0600) and that holds the key; used where the variable is not set."""
    api: Literal["auto", "chat", "completions"] = "auto"
    """Chat, or legacy completions, which suit raw few-shot prompts; ``auto`` asks the server for the latter first."""
    context_length: int | None = Field(None, ge=64)
    """Tokens that prompt and answer may have together; None: what the server's list of models says, where it does."""
    concurrency: int | None = Field(None, ge=1)
    """Requests in flight at once (default: as ``generate.batch``, else 8)."""
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    prompt_price: float | None = Field(None, ge=0)
    """Money for a million tokens read."""
    completion_price: float | None = Field(None, ge=0)
    """Money for a million tokens written."""
    connect_timeout: float = Field(10.0, gt=0)
    """Seconds, as the other two."""
    first_token_timeout: float = Field(120.0, gt=0)
    token_timeout: float = Field(60.0, gt=0)
    """Between two tokens."""
    tries: int = Field(6, ge=1)
    """How often one request is sent before it counts as failed."""

    @model_validator(mode="after")
    def _both_prices(self) -> EndpointConfig:
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ValueError("prompt_price and completion_price belong together: set both (0 where it is free)")
        return self


class _Parameters(_Section):
    """A rule's parameters; what is not set stays as shipped."""

    def changed(self) -> dict[str, Any]:
        """Those that are set, as the rule's object takes them."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


_Share = Annotated[float, Field(ge=0, le=1)]
_Words = tuple[Annotated[str, Field(pattern=r"\S")], ...]


class LengthParameters(_Parameters):
    """``length``: an instruction's words (tokens, with the unicode tokenizer)."""

    min_words: int | None = Field(None, ge=0)
    max_words: int | None = Field(None, ge=1)


class WordParameters(_Parameters):
    """``banned_words`` or ``content``: words and phrases, found as whole words in any case."""

    words: _Words | None = None
    """In place of the shipped list."""
    more: _Words = ()
    """Added to the list."""

    def listed(self, shipped: tuple[str, ...]) -> dict[str, Any]:
        """The list as the rule's object takes it."""
        if self.words is None and not self.more:
            return {}
        return {"words": (*(shipped if self.words is None else self.words), *self.more)}


class PrefixParameters(_Parameters):
    """``program_prefix``."""

    prefixes: _Words | None = None


class RepetitionParameters(_Parameters):
    """``repetition``, for instructions and instances alike."""

    max_loop: int | None = Field(None, ge=1)
    longest_phrase: int | None = Field(None, ge=1, le=100)
    max_share: _Share | None = None
    min_unique: _Share | None = None
    min_tokens: int | None = Field(None, ge=1)


class EchoParameters(_Parameters):
    """``echo``: ROUGE-L of output with input, from how many tokens on, and which instructions may ask for it."""

    threshold: _Share | None = None
    min_tokens: int | None = Field(None, ge=0)
    editing_stems: _Words | None = None


class NearDuplicateParameters(_Parameters):
    """``near_duplicate_instance``."""

    threshold: _Share | None = None
    min_tokens: int | None = Field(None, ge=0)


def _rule_names() -> list[str]:
    # Imported where it is needed: the rules bring NumPy with them, and every start reads the configuration.
    from alpaca_tui.core.instance_rules import INSTANCE_RULES
    from alpaca_tui.core.instruction_rules import INSTRUCTION_RULES

    names = [rule.name for rule in INSTRUCTION_RULES] + [rule.name for rule in INSTANCE_RULES]
    return list(dict.fromkeys(names))


class RulesConfig(_Section):
    """The filter's rules, by name: which apply, in which order, with which parameters."""

    disabled: tuple[str, ...] = ()
    """Rules that are not applied."""
    order: tuple[str, ...] = ()
    """Rules that come first, in this order; a rejection is counted under the first rule that fails."""
    tokenizer: TokenizerName = "rouge"
    """How texts are cut into words for every score: ``rouge`` as in the paper; ``unicode`` for any language."""
    length: LengthParameters = LengthParameters()
    banned_words: WordParameters = WordParameters()
    program_prefix: PrefixParameters = PrefixParameters()
    content: WordParameters = WordParameters()
    repetition: RepetitionParameters = RepetitionParameters()
    echo: EchoParameters = EchoParameters()
    near_duplicate_instance: NearDuplicateParameters = NearDuplicateParameters()

    @field_validator("disabled", "order")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = _rule_names() if names else []
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            raise ValueError(f"there is no rule {unknown!r}; the rules are {', '.join(known)}")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice")
        return names

    @model_validator(mode="after")
    def _makes_sense(self) -> RulesConfig:
        if self.length.changed():
            from alpaca_tui.core.instruction_rules import Length

            rule = Length(**self.length.changed())
            if rule.min_words > rule.max_words:
                bounds = f"min_words is {rule.min_words} and max_words {rule.max_words}"
                raise ValueError(f"length: {bounds}, so nothing passes")
        return self

    def settings(self) -> RuleSettings:
        """As the lists of rules take them."""
        parameters = {
            "length": self.length.changed(),
            "banned_words": self.banned_words.listed(BANNED_WORDS),
            "program_prefix": self.program_prefix.changed(),
            "content": self.content.listed(CONTENT_WORDS),
            "repetition": self.repetition.changed(),
            "echo": self.echo.changed(),
            "near_duplicate_instance": self.near_duplicate_instance.changed(),
        }
        return RuleSettings(self.disabled, self.order, {rule: values for rule, values in parameters.items() if values})


class ReviewConfig(_Section):
    """The Review screen."""

    reasons: tuple[Annotated[str, Field(min_length=1, max_length=60, pattern=r"^\S.*$")], ...] = Field(
        (
            "wrong answer",
            "does not follow the instruction",
            "unclear instruction",
            "repeats another sample",
            "badly written",
            "unsafe",
            "other",
        ),
        min_length=1,
        max_length=7,
    )
    """Why a sample is rejected: R, then the number."""


class UiConfig(_Section):
    """The cockpit."""

    theme: str | None = None
    """A theme's name; None: the default."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Action name to key, for rebinding."""
    bell: bool = False
    """Ring once for each: a job done, one stopped by a guard or out of memory, a worker lost or silent, disk low."""


class Config(_Section):
    """A project's ``config.toml``; every value has a default."""

    generate: GenerateConfig = GenerateConfig()
    rules: RulesConfig = RulesConfig()
    review: ReviewConfig = ReviewConfig()
    ui: UiConfig = UiConfig()
    endpoint: EndpointConfig = EndpointConfig()
    """For every ``openai:`` SPEC that no section of ``endpoints`` is for."""
    endpoints: dict[str, EndpointConfig] = Field(default_factory=dict)
    """By name: ``openai:MODEL@NAME``, or any SPEC with the same address."""

    def endpoint_for(self, base_url: str | None, name: str | None = None) -> EndpointConfig:
        """The section for an endpoint's SPEC, with its address. Raises UsageError for a name that is not there."""
        if name is not None:
            if name not in self.endpoints:
                known = ", ".join(self.endpoints) or "none"
                raise UsageError(f"config.toml has no [endpoints.{name}]; there are: {known}")
            return self.endpoints[name]
        if base_url is None:
            return self.endpoint
        for section in (*self.endpoints.values(), self.endpoint):
            if section.base_url and section.base_url.rstrip("/") == base_url:
                return section
        # An address of its own: the general section's limits and prices, but not the key of another server.
        key = {"key_variable": None, "key_file": None} if self.endpoint.base_url else {}
        return self.endpoint.model_copy(update={"base_url": base_url} | key)


def load(project: Path) -> Config:
    """The project's configuration. Raises UsageError naming the file and the faulty value."""
    return load_file(project / CONFIG_NAME, missing_ok=True)


def load_file(path: Path, *, missing_ok: bool = False) -> Config:
    """The configuration in a file of that form. Raises UsageError naming the file and the faulty value."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if missing_ok:
            return Config()
        raise UsageError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{path}: {_said(error)}") from error


def _said(error: ValidationError) -> str:
    """The first fault: where it is, what stands there, what would be right."""
    first = error.errors()[0]
    where, message = [*map(str, first["loc"])], first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        section: Any = Config
        for part in where[:-1]:
            section = EndpointConfig if section is Config and part == "endpoints" else section
            section = section.model_fields[part].annotation if part in section.model_fields else section
        return f"{'.'.join(where)}: there is no such setting; there are {', '.join(section.model_fields)}"
    value = "" if isinstance(first["input"], (dict, list, tuple)) else f" is {first['input']!r}"
    return f"{'.'.join(where)}{value}: {message[:1].lower()}{message[1:]}"
