"""Acts of operators: settings by hand, their expiry and undo, and the audit log."""
