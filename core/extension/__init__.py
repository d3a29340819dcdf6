"""The plugin host: finds plugins, hands each its settings, and collects what they offer."""
