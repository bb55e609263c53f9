"""The configuration: `load` reads it, `Config` is what comes out, `ConfigError` says all that is wrong with it."""

from bridge.config.diagnostics import ConfigError, Problem
from bridge.config.load import load
from bridge.config.model import (
    Ack,
    Address,
    Chatbot,
    Condition,
    Config,
    Destination,
    RateLimit,
    RetrySchedule,
    Route,
    Server,
    Store,
)

__all__ = [
    "Ack",
    "Address",
    "Chatbot",
    "Condition",
    "Config",
    "ConfigError",
    "Destination",
    "Problem",
    "RateLimit",
    "RetrySchedule",
    "Route",
    "Server",
    "Store",
    "load",
]
