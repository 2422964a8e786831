"""News and social feeds: fetched as if each were hostile, told once per story, and how each of them is."""

from dataflows.connectors.news.source import NewsSource

__all__ = ["NewsSource"]
