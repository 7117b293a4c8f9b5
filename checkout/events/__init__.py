"""Events of orders on their way to other systems: the relay, and the sinks that take them."""
