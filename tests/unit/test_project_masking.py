"""What nobody may see of a configuration, and what stays readable."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpbus.project import mask_text, masked
from fpbus.schemas import PipelineConfig, ProjectConfig

SECRET = [
    *("password", "redis_password", "PASSWORD", "api_key", "apikey", "x-api-key", "clientSecret", "account_key"),
    *("aws_secret_access_key", "sas_token", "token", "connection_string", "Authorization", "private_key", "cookie"),
]
PLAIN = [
    *("key_file", "password_file", "token_url", "secret_name", "monkey", "keyboard", "tokenizer", "max_tokens"),
    *("author", "primary_key", "key", "compass", "token_limit"),
]
PASSWORDS = st.text(alphabet=st.characters(exclude_characters="'\"", categories=["L", "N", "P", "S"]), min_size=1)


def test_a_projects_secrets_are_masked_and_the_rest_is_there() -> None:
    said = {
        "name": "shop",
        "redis_url": "redis://u:p@h:6379/0",
        "storage_options": {"key": "AK", "secret": "SK", "client_kwargs": {"region_name": "eu", "aws_token": "T"}},
        "job_queue": {"backend": {"username": "u", "password": "pw", "key_file": "/etc/key.pem"}},
        "adapter": {"opentelemetry": {"headers": {"x-team": "abc"}}},
    }
    assert masked(msgspec.convert(said, ProjectConfig)) == {
        "name": "shop",
        "redis_url": "redis://u:***@h:6379/0",
        "storage_options": {"key": "***", "secret": "***", "client_kwargs": {"region_name": "eu", "aws_token": "***"}},
        "job_queue": {"backend": {"username": "u", "password": "***", "key_file": "/etc/key.pem"}},
        "adapter": {"opentelemetry": {"headers": {"x-team": "***"}}},
    }


def test_a_pipelines_secrets_are_masked_and_the_rest_is_there() -> None:
    params = {"password": 1234, "tokens": [1], "max_tokens": 5, "key": "customer", "author": "Ann", "apiKey": "k"}
    said = {
        "params": params,
        "adapter": {"hamilton_tracker": {"api_key": "k", "api_url": "https://h", "verify": False}},
    }
    shown = {**params, "password": "***", "apiKey": "***"}
    assert masked(msgspec.convert(said, PipelineConfig)) == {
        "params": shown,
        "adapter": {"hamilton_tracker": {"api_key": "***", "api_url": "https://h", "verify": False}},
    }


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets_are_known_with_all_below_them(name: str) -> None:
    assert masked({name: "s"}) == {name: "***"}
    assert masked({"params": {name: {"x": ["s", 1], "on": True}}}) == {
        "params": {name: {"x": ["***", "***"], "on": True}}
    }


@pytest.mark.parametrize("name", PLAIN)
def test_names_that_are_only_about_secrets_are_shown(name: str) -> None:
    assert masked({name: "s"}) == {name: "s"}


def test_what_is_not_there_is_not_masked() -> None:
    assert masked({"password": None, "token": "", "secret": False}) == {"password": None, "token": "", "secret": False}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://u:p@h", "redis://u:***@h"),
        ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
        ("rediss://u:p/w@d@h/0", "rediss://u:***@h/0"),
        ("cannot reach mqtt://u:p@h, and amqp://v:q@i.", "cannot reach mqtt://u:***@h, and amqp://v:***@i."),
        ("postgresql+psycopg://u:p@h/db", "postgresql+psycopg://u:***@h/db"),
        ("https://ghp_abc@github.com/o/r", "https://***@github.com/o/r"),
        ("ssh://git@github.com/o/r", "ssh://git@github.com/o/r"),
        ("github://org:repo@main/folder", "github://org:repo@main/folder"),
        ("https://h/x?a=1&token=t&b=2", "https://h/x?a=1&token=***&b=2"),
        ("https://h/x?X-Amz-Signature=s&sig=t#top", "https://h/x?X-Amz-Signature=***&sig=***#top"),
        ("https://h:8080/a@1.0", "https://h:8080/a@1.0"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("ann@example.com", "ann@example.com"),
    ],
)
def test_urls_lose_their_secrets_and_nothing_else(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@given(PASSWORDS)
def test_no_password_is_shown_whatever_is_in_it(password: str) -> None:
    assert mask_text(f"at redis://me:x{password}@host/0 and on") == "at redis://me:***@host/0 and on"


def test_a_long_text_is_masked_quickly() -> None:
    text = "a" * 500_000 + "://u:p@h" + "=b" * 200_000
    assert "u:p@" not in mask_text(text)
