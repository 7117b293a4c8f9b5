"""Control sockets and shared state between the control process and the workers."""
