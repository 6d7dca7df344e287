"""Options: one dataclass is the keyword arguments, the flags, the help and the errors."""

from __future__ import annotations

import argparse

import pytest

from fastgen.config import EngineConfig
from fastgen.core.sampling_params import SamplingParams
from fastgen.errors import InvalidRequestError, UnknownOptionError, UsageError
from fastgen.options import add_options, from_mapping, from_namespace, options_of

ENGINE_DEFAULTS = {
    "model": None,
    "revision": None,
    "device": "auto",
    "dtype": "auto",
    "token_budget": None,
    "max_sequences": 256,
    "max_model_tokens": None,
    "max_queued_requests": 1024,
    "composition": "splitfuse",
    "queue_policy": "fcfs",
    "block_tokens": 16,
    "kv_bytes": None,
    "memory_fraction": 0.9,
    "prefix_cache": True,
    "attention": "auto",
    "linear": "auto",
    "promise_tokens_per_second": 4.0,
    "load_progress": True,
}


def test_defaults_change_only_on_purpose() -> None:
    assert {option.name: option.default for option in options_of(EngineConfig)} == ENGINE_DEFAULTS


@pytest.mark.parametrize("config", [EngineConfig, SamplingParams])
def test_every_field_explains_itself(config: type) -> None:
    assert [option.name for option in options_of(config) if len(option.help) < 15] == []


def test_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(UnknownOptionError, match=r"unknown option 'token_buget'.*did you mean 'token_budget'"):
        from_mapping(EngineConfig, {"model": "m", "token_buget": 3}, where="fastgen.pipeline")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"token_budget": "many"}, "token_budget='many'.*expected int"),
        ({"token_budget": True}, "token_budget=True.*expected int"),
        ({"token_budget": 0}, "token_budget=0 is too small"),
        ({"dtype": "int4"}, "allowed are auto, float32, bfloat16, float16"),
        ({"attention": "flash_attn"}, "set block_tokens=256"),
        ({"memory_fraction": 1.5}, "outside 0.05 to 1.0"),
    ],
)
def test_wrong_values_say_what_is_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_mapping(EngineConfig, {"model": "m", **values}, where="fastgen.pipeline")


def test_flags_are_the_fields() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, EngineConfig)
    flags = ["--model", "m", "--token-budget", "64", "--no-prefix-cache", "--kv-bytes", "none", "--dtype", "bfloat16"]
    config = from_namespace(EngineConfig, parser.parse_args(flags))
    assert config == EngineConfig(model="m", token_budget=64, prefix_cache=False, dtype="bfloat16")
    assert "Tokens per step, the target" in parser.format_help()


def test_a_flag_of_the_wrong_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, EngineConfig)
    with pytest.raises(SystemExit):
        parser.parse_args(["--token-budget", "many"])
    assert "--token-budget takes int, got 'many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; it must be at least 0 and at most 100"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens is 9; it must be at least 0 and at most 8"),
        ({"stop": ("",)}, "empty string"),
        ({"n": 1000}, "n is 1000; it must be at least 1 and at most 128"),
    ],
)
def test_sampling_params_name_the_field_and_the_range(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        SamplingParams(**values)  # type: ignore[arg-type]
