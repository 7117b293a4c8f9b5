"""Tell browsers what they may do with an answer."""

from __future__ import annotations

from gateway.http import Handler, Layer, Outcome, Request, Response, after, header


def security_headers(*, own: bool, content_security_policy: str = "", **fields: str) -> Layer:
    """Add the fields (`strict_transport_security="max-age=…"`) to each answer; empty ones are left out.

    The gateway's own answers are data, so they get the content security policy as well. Answers of others (`own` is false)
    keep what they say themselves, and no policy is made up for their pages.
    """
    if own:
        fields = {**fields, "content_security_policy": content_security_policy}
    lines = {name.replace("_", "-"): header(_title(name), value) for name, value in fields.items() if value}
    return _always(b"".join(lines.values())) if own else _where_missing(lines)


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("_"))


def _always(lines: bytes) -> Layer:
    def layer(handler: Handler) -> Handler:
        def headed(request: Request) -> Outcome:
            request.notes += lines
            return handler(request)

        return headed

    return layer


def _where_missing(lines: dict[str, bytes]) -> Layer:
    def add(request: Request, response: Response) -> Response:
        said = b"\r\n" + response.headers.lower()
        for name, line in lines.items():
            if b"\r\n%b:" % name.encode() not in said:
                request.notes += line
        return response

    return lambda handler: after(handler, add)
