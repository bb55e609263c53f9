"""The `pipedrive` connector: writes persons into Pipedrive, with leads or deals, notes and activities."""

from connectors.pipedrive.connector import PipedriveConnector

__all__ = ["PipedriveConnector"]
