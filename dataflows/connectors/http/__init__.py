"""The polite client: asks within limits and budgets, waits when told to, gives up in time, shows no key.

`Client` makes one exchange, whatever the other side does; `Polite` is one source's way to it, with its pace,
budget and breaker. Both raise errors of `engine.errors` only, in words that hold no key.
"""

from dataflows.connectors.http.breaker import Breaker
from dataflows.connectors.http.budget import Budget
from dataflows.connectors.http.cache import Cache
from dataflows.connectors.http.client import Answer, Call, Client
from dataflows.connectors.http.limits import Pace
from dataflows.connectors.http.polite import Polite
from dataflows.connectors.http.redaction import Secrets

__all__ = ["Answer", "Breaker", "Budget", "Cache", "Call", "Client", "Pace", "Polite", "Secrets"]
