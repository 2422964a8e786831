"""The companion of the replay exchange: it answers for all fifteen providers and for the news feeds.

Everything it says is simulated and in stream time; the shapes are those of the real answers.
"""
