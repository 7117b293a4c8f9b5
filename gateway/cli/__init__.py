"""The command line: a file for each group of commands, whose work is in `gateway.commands`.

A file here has `add_parser`, which names the options. The imports that only one command needs
stand in the function that runs it, so that no other command pays for them at its start.
"""
