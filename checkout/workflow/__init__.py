"""The workflow of an order: its table of steps, the runner, and its form for AWS Step Functions."""
