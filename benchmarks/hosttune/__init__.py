"""What `hosttune` costs."""
