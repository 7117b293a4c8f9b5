"""When to say no or later: pure decisions, with clock and chance passed in."""
