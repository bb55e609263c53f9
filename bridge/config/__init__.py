"""The configuration: `load` reads it, `Config` is what comes out, `ConfigError` says all that is wrong with it."""

from bridge.config.diagnostics import ConfigError, ConfigProblem
from bridge.config.load import load
from bridge.config.model import (
    Ack,
    Chatbot,
    Condition,
    Config,
    Destination,
    ListenAddress,
    RateLimit,
    RetrySchedule,
    Route,
    ServerSettings,
    StoreSettings,
)

__all__ = [
    "Ack",
    "Chatbot",
    "Condition",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "Destination",
    "ListenAddress",
    "RateLimit",
    "RetrySchedule",
    "Route",
    "ServerSettings",
    "StoreSettings",
    "load",
]
