"""The WebSocket v2 stream: connections, desired subscriptions, supervision."""
