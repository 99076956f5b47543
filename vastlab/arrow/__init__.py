"""VAST's types in Arrow: extension types, schemas, IPC streams and rendered values."""
