"""Load tests: what the service stands under many requests and under bad clients."""
