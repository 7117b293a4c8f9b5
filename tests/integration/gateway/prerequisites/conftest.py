from __future__ import annotations

from tests.sqs import aws_credentials, sqs_endpoint, sqs_server  # noqa: F401  fixtures
