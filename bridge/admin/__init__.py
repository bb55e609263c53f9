"""The admin listener: health, metrics, the API and the dashboard."""
