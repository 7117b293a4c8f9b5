from tests.sqs import aws_credentials, fauxqs_endpoint, fauxqs_server, sqs_endpoint, sqs_server  # noqa: F401  fixtures
