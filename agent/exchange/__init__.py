"""The exchange simulator: it sends the feed, takes the orders, matches them and judges the agent from outside."""
