"""Mails of the examples: handed to a mail server, or written to files."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from pathlib import Path


def compose(webhook_id: str, to: str, subject: str, text: str) -> EmailMessage:
    """A mail whose id is that of the webhook, so that mail servers recognise a second one."""
    mail = EmailMessage()
    mail["Message-ID"] = f"<{webhook_id}@shop.example>"
    mail["From"] = "The shop <orders@shop.example>"
    mail["To"] = to
    mail["Subject"] = subject
    mail.set_content(text)
    return mail


def deliver(mail: EmailMessage, webhook_id: str, *, out: Path, smtp: str | None) -> None:
    """Send the mail, or write it to a file with the webhook's id as its name."""
    if smtp is None:
        (out / f"{webhook_id}.eml").write_bytes(bytes(mail))
        return
    host, _, port = smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=10) as server:
        server.send_message(mail)


def money(amount: dict[str, object]) -> str:
    """An amount of the API, for people. Of currencies with two digits behind the point."""
    minor = int(str(amount["amount"]))
    return f"{minor // 100}.{minor % 100:02d} {amount['currency']}"
