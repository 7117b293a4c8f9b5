"""The configuration file: settings, policies, their checks and JSON Schema."""
