"""What a request and a response are, and where a request goes: messages, routing, problems."""
