"""Answers of the control socket, held against its published schema."""

from __future__ import annotations

import functools
from typing import Any

import jsonschema

from wfpd.control import schema


@functools.cache
def _validator(pointer: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema.load(), "$ref": f"#/{pointer}"})


def check_params(method: str, params: object) -> None:
    """ValidationError if the method does not take these parameters."""
    _validator(f"methods/{method}/params").validate(params)


def check_result(method: str, result: Any) -> None:
    """ValidationError if this is no result of the method."""
    _validator(f"methods/{method}/result").validate(result)


def check_notification(method: str, params: Any) -> None:
    """ValidationError if this is no such notification."""
    _validator(f"notifications/{method}/params").validate(params)


def check_error(error: Any) -> None:
    """ValidationError if this is no error of an answer."""
    _validator("$defs/error").validate(error)
