"""Clients of Kafka, with every setting that can stall a client made explicit."""
