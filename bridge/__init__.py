"""The bridge: two straight lines, one from the sender to the store and one from the store to the CRM."""
