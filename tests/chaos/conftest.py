from tests.sqs import aws_credentials

__all__ = ["aws_credentials"]
