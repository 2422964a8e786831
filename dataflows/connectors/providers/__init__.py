"""The providers polled: what is due is asked, what is new is handed on, and how each of them is."""

from dataflows.connectors.providers.poller import Poller
from dataflows.connectors.providers.pollers import Pollers, switched_off

__all__ = ["Poller", "Pollers", "switched_off"]
