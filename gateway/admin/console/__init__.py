"""The console: a live page of the last 15 minutes, and the switches of the person on call."""
