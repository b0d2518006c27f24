"""Talking to Redis: connections whose every exchange is bounded, and whose errors are one line without a secret."""
