"""Streams between components: what holds their payloads back."""
