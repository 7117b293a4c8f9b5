"""How the control process and the workers talk."""
